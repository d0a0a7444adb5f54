"""What a device's errors mean, and what becomes of a pass, a model, a sample and a process that meets one."""

import errno
import os
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from beam_curator import device_errors
from beam_curator.device_errors import DeviceLostError, wants_memory
from beam_curator.duplicates import products
from beam_curator.duplicates.products import where_it_fits
from beam_curator.errors import CurationError, JobError
from beam_curator.models.encoders import clip, device_model
from beam_curator.models.encoders.caption_encoder import CaptionEncoder, Captions
from beam_curator.models.encoders.clip import ClipEncoder, ClipSpec
from beam_curator.models.encoders.cuda_stream import DeviceStream
from beam_curator.models.encoders.text_tower import TextTower
from beam_curator.models.scorers import calls
from beam_curator.models.scorers.scorer import Column
from beam_curator.models.scorers.text_embedding import TextEmbedding
from tests.models.recording_model import RecordingModel, embeddings_alone, images, picture
from tests.patience import HANG_SECONDS

WANTS_MEMORY = {
    "allocator": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity"),
    "driver": RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    "cublas-handle": RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    "cublas": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "cudnn": RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    "cudnn-handle": RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"),
    "triton": RuntimeError("Triton Error [CUDA]: out of memory"),
    "virtual-memory": RuntimeError("CUDA driver error: out of memory"),
    "thrust": RuntimeError("std::bad_alloc: cudaErrorMemoryAllocation: out of memory"),
    "host": RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried"),
    "python": MemoryError(),
    # What torch says on a part of a GPU (MIG) in place of its own error: it asks the driver whose processes are there.
    "slice": RuntimeError('NVML_SUCCESS == r INTERNAL ASSERT FAILED at "../c10/cuda/CUDACachingAllocator.cpp":995'),
    "cudnn-search": RuntimeError("GET was unable to find an engine to execute this computation"),
    "cudnn-algorithm": RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"),
    "solver": RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`"),
    "transform": RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"),
    "hip": RuntimeError("CUDA error: HIPBLAS_STATUS_ALLOC_FAILED when calling `hipblasCreate(handle)`"),
    "mapped": RuntimeError("unable to mmap 1710537716 bytes from file </models/a.pt>: Cannot allocate memory (12)"),
    "linker": ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    "thread": RuntimeError("can't start new thread"),
    "system": OSError(errno.ENOMEM, "Cannot allocate memory"),
    "mps": RuntimeError("MPS backend out of memory (MPS allocated: 5.05 GiB, other allocations: 2.29 GiB)"),
}


class LibraryError(Exception):
    """An error as ONNX Runtime's, TensorFlow's and OpenCV's, which are no RuntimeError."""


OF_LIBRARIES = {
    "onnx": LibraryError(
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Conv node. Status "
        "Message: bfc_arena.cc:376 void* onnxruntime::BFCArena::AllocateRawInternal Failed to allocate memory for "
        "requested buffer of size 939524096"
    ),
    "onnx-device": LibraryError(
        "CUDA failure 2: out of memory ; GPU=0 ; hostname=a ; expr=cudaMalloc((void**)&p, size);"
    ),
    "jax": RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes."),
    "tensorflow": LibraryError(
        "OOM when allocating tensor with shape[256,64,112,112] and type float on /job:localhost"
    ),
    "opencv": LibraryError(
        "OpenCV(4.10.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 80 bytes in"
    ),
    "numba": LibraryError("[2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY"),
}
OTHERS = {
    "quota": RuntimeError("RESOURCE_EXHAUSTED: Received message larger than max (5242880 vs. 4194304)"),
    "disk": OSError(errno.ENOSPC, "No space left on device"),
    "kernel": RuntimeError("CUDA error: an illegal memory access was encountered"),
    "shape": RuntimeError("mat1 and mat2 shapes cannot be multiplied (1x2 and 3x4)"),
    "told": ValueError("CUDA out of memory"),
}


@pytest.mark.parametrize("name", [*WANTS_MEMORY, *OF_LIBRARIES])
def test_want_of_memory_is_known_in_all_its_shapes(name):
    assert wants_memory((WANTS_MEMORY | OF_LIBRARIES)[name])


@pytest.mark.parametrize("name", OTHERS)
def test_other_errors_are_no_want_of_memory(name):
    assert not wants_memory(OTHERS[name])


class ShortOfMemory(RecordingModel):
    """Raises an error in a pass of more than three images, or where pinned memory for more than three is asked for."""

    def __init__(self, error, of_buffers=False):
        super().__init__(batch_size=8, equal_passes=True)
        self.error, self.of_buffers = error, of_buffers

    def _embedded(self, inputs):
        if not self.of_buffers and len(inputs) > 3:
            raise self.error
        return super()._embedded(inputs)

    def new_buffer(self, count):
        if self.of_buffers and count > 3:
            raise self.error
        return super().new_buffer(count)


@pytest.mark.slow
@pytest.mark.parametrize("of_buffers", [False, True], ids=["pass", "buffer"])
@pytest.mark.parametrize("name", WANTS_MEMORY)
def test_want_of_memory_in_any_shape_halves_the_pass_and_loses_nothing(name, of_buffers):
    model = ShortOfMemory(WANTS_MEMORY[name], of_buffers)
    got = DeviceStream(model, picture, ThreadPoolExecutor(1)).submit(images(*range(1, 10))).result(HANG_SECONDS)
    assert (model.batch_size, got.batch_reductions, model.batch_reductions) == (2, 2, 2)
    assert np.abs(got.embeddings - embeddings_alone(*range(1, 10))).max() < 1e-3


def test_pinned_memory_that_not_even_one_image_finds_is_one_line():
    model = ShortOfMemory(WANTS_MEMORY["driver"], of_buffers=True)
    model.new_buffer = lambda count: (_ for _ in ()).throw(WANTS_MEMORY["driver"])
    with pytest.raises(JobError, match=r"^not even one image at a time fits in the memory of device 'cpu'") as caught:
        DeviceStream(model, picture, ThreadPoolExecutor(1)).submit(images(1)).result(HANG_SECONDS)
    assert "\n" not in str(caught.value)


LOST = (
    "device 'cpu' is lost to this process after an error in model 'tiny' (CUDA error: an illegal memory access was "
    "encountered): what is scored is kept; run the same command again, and if it comes back, look for the GPU's errors "
    "in the system's log (Xid)"
)


@pytest.mark.parametrize("name", ["cublas-handle", "driver"])
def test_want_of_memory_on_a_lost_device_is_a_lost_device(name, monkeypatch):
    # After an error within a kernel cuBLAS makes no handle either, however small the pass.
    monkeypatch.setattr(device_model, "is_lost", lambda device: True)
    model = ShortOfMemory(WANTS_MEMORY[name])
    with pytest.raises(DeviceLostError):
        DeviceStream(model, picture, ThreadPoolExecutor(1)).submit(images(*range(9))).result(HANG_SECONDS)
    assert model.batch_reductions == 0


def load_error(monkeypatch, name: str, step: str) -> str:
    """Loads a model whose step raises an error of these; gives what a user reads."""

    def fail(*_args, **_named):
        raise (WANTS_MEMORY | OTHERS)[name]

    monkeypatch.setattr(step, fail)
    with pytest.raises(CurationError) as caught:
        ClipEncoder(ClipSpec("tiny-untrained", device="cpu", batch_size=8, decode_threads=1)).load()
    return str(caught.value)


LOADING = {
    "first-touch": "beam_curator.models.encoders.clip.resolve_precision",
    "weights": "beam_curator.models.encoders.clip.load_tower",
    "moving": "torch.nn.Module.to",
}


@pytest.mark.parametrize("step", LOADING)
@pytest.mark.parametrize("name", ["allocator", "driver", "host", "python"])
def test_want_of_memory_while_a_model_is_loaded_is_one_line_that_says_what_was_wanted(name, step, monkeypatch):
    told = load_error(monkeypatch, name, LOADING[step])
    assert told.startswith("model 'tiny-untrained' does not fit in the memory of device 'cpu' (")
    assert told.endswith("): free memory there, or take a larger device or a smaller model")
    assert device_errors.first_line(WANTS_MEMORY[name]) in told
    assert "\n" not in told


def test_a_device_that_was_lost_before_the_model_is_loaded_is_a_lost_device(monkeypatch):
    monkeypatch.setattr(clip, "is_lost", lambda device: True)
    assert load_error(monkeypatch, "kernel", LOADING["moving"]) == LOST.replace("'tiny'", "'tiny-untrained'")


def test_memory_that_is_wanting_for_what_goes_back_to_the_host_halves_the_pass_as_well(monkeypatch):
    model = RecordingModel(batch_size=8, equal_passes=True)
    forward = model._forward

    class OnDevice:
        def __init__(self, rows):
            self.rows = rows

        def __getitem__(self, some):
            return OnDevice(self.rows[some])

        def to(self, device, non_blocking):
            if len(self.rows) > 3:
                raise WANTS_MEMORY["driver"]
            return self.rows

    monkeypatch.setattr(model, "_forward", lambda pixels: OnDevice(forward(pixels)))
    got = DeviceStream(model, picture, ThreadPoolExecutor(1)).submit(images(*range(1, 10))).result(HANG_SECONDS)
    assert (model.batch_size, got.batch_reductions) == (2, 2)
    assert np.abs(got.embeddings - embeddings_alone(*range(1, 10))).max() < 1e-3


@pytest.mark.parametrize("where", ["pass", "waiting"])
def test_a_lost_device_is_one_line_wherever_it_is_noticed(where, monkeypatch):
    monkeypatch.setattr(device_model, "is_lost", lambda device: True)
    model = RecordingModel()

    def fail(*_):
        raise OTHERS["kernel"]

    if where == "pass":
        monkeypatch.setattr(model, "_forward", fail)
    else:
        monkeypatch.setattr(device_model.PendingEmbeddings, "wait", fail)
    with pytest.raises(DeviceLostError) as caught:
        DeviceStream(model, picture, ThreadPoolExecutor(1)).submit(images(1)).result(HANG_SECONDS)
    assert str(caught.value) == LOST


def test_an_error_that_leaves_the_device_as_it_is_stays_what_it_is(monkeypatch):
    model = RecordingModel()

    def fail(*_):
        raise OTHERS["shape"]

    monkeypatch.setattr(model, "_forward", fail)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        DeviceStream(model, picture, ThreadPoolExecutor(1)).submit(images(1)).result(HANG_SECONDS)


@pytest.mark.parametrize(("answer", "lost"), [(None, False), ("kernel", True), ("shape", True)])
def test_a_device_is_lost_when_it_raises_at_nothing(answer, lost, monkeypatch):
    def synchronize():
        if answer:
            raise OTHERS[answer]

    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    assert device_errors.is_lost("cuda") is lost
    assert not device_errors.is_lost("cpu")


def test_a_scorer_that_loses_the_device_fails_the_job_and_no_sample(monkeypatch):
    class Losing:
        name = "losing"
        columns = ()

        def __call__(self, items):
            raise OTHERS["kernel"]

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(calls, "is_lost", lambda device: True)
    with pytest.raises(DeviceLostError, match=r"after an error in scorer losing .CUDA error: an illegal memory access"):
        calls._answers(Losing(), [1, 2])


def test_a_scorer_that_loads_onto_a_lost_device_fails_the_job_as_well(monkeypatch):
    class Losing:
        name = "losing"
        columns = ()

        def load(self):
            raise WANTS_MEMORY["cublas-handle"]

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(calls, "is_lost", lambda device: True)
    with pytest.raises(DeviceLostError, match=r"after an error in scorer losing .CUDA error: CUBLAS_STATUS_NOT_INIT"):
        calls.LoadedScorer(Losing())([1, 2])


class HoldingScorer:
    """Raises on more than two samples, as a model does whose pass made something of them on the device."""

    name, columns, parallel = "holding", (Column("held", "number"),), True

    def __init__(self, error):
        self.error, self.made, self.there = error, [], []

    def __call__(self, items):
        self.there.append(sum(one() is not None for one in self.made))
        activations = np.zeros(8)
        self.made.append(weakref.ref(activations))
        if len(items) > 2:
            raise type(self.error)(*self.error.args)  # one that nobody holds
        return np.ones(len(items))


@pytest.mark.parametrize("name", ["allocator", "cublas"])
def test_a_call_that_is_halved_holds_nothing_of_those_that_failed(name):
    scorer = HoldingScorer(WANTS_MEMORY[name])
    assert calls._answers(scorer, list(range(8))).values["held"].tolist() == [1] * 8
    assert scorer.there == [0] * len(scorer.made)


@pytest.mark.slow
@pytest.mark.parametrize("name", WANTS_MEMORY)
def test_captions_are_under_the_same_rule(name, monkeypatch):
    texts = [f"a photograph of {number} things" for number in range(9)]
    encoder = TextEmbedding("tiny-untrained", None, None, dim=768, device="cpu")
    expected = calls.LoadedScorer(encoder)(Captions(texts)).values["text_embedding"]
    encode_rows, sizes = TextTower.encode_rows, []

    def limited(self, tokens, length=None):
        sizes.append(len(tokens))
        if len(tokens) > 3:
            raise WANTS_MEMORY[name]
        return encode_rows(self, tokens, length)

    monkeypatch.setattr(TextTower, "encode_rows", limited)
    got = calls.LoadedScorer(encoder)(Captions(texts))
    assert not got.failures
    assert np.abs(got.values["text_embedding"].astype(float) - expected).max() < 1e-3
    assert max(sizes[1:]) < 9


def test_products_are_the_processors_where_the_device_has_no_memory_for_them(caplog):
    asked = []

    def full(one, other):
        asked.append(len(one))
        raise WANTS_MEMORY["driver"]

    rows = np.random.default_rng(1).normal(size=(5, 8)).astype(np.float32)
    products = where_it_fits(full, "cpu")
    for _ in range(2):
        assert (products(rows, rows) == rows @ rows.T).all()
    assert asked == [5]  # and never again
    assert [record.getMessage() for record in caplog.records] == [
        "embeddings are compared on the processor: device 'cpu' has no memory for it (CUDA error: out of memory)"
    ]


def test_products_on_a_lost_device_are_a_lost_device(monkeypatch):
    def lost(one, other):
        raise OTHERS["kernel"]

    monkeypatch.setattr(products, "is_lost", lambda device: True)
    with pytest.raises(DeviceLostError, match="after an error in comparing embeddings"):
        where_it_fits(lost, "cuda")(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_of_the_process_that_loaded_the_model_is_refused():
    encoder = ClipEncoder(ClipSpec("tiny-untrained", device="cpu", decode_threads=1))
    encoder.load()
    encoder._model._process -= 1  # as if this were a fork of that process: a real one would leave threads behind here
    with pytest.raises(JobError) as caught:
        encoder.encode(images(1))
    assert str(caught.value) == (
        "model 'tiny-untrained' was loaded on device 'cpu' by a process of which this one is a fork, where neither its "
        "threads nor CUDA work: start processes by 'spawn', or load the model in each of them"
    )


def test_a_fork_of_the_process_that_loaded_the_text_half_is_refused():
    encoder = CaptionEncoder("tiny-untrained", None, None, "cpu")
    encoder.load()
    encoder._process -= 1
    with pytest.raises(JobError, match=r"^the text tower of model .tiny-untrained. was loaded on device"):
        encoder.encode(Captions(["a cat"]))


WORKER = """
import logging, sys
from beam_curator.device_errors import DeviceLostError
from beam_curator.transforms.lost_device import ending_worker_of_lost_device
try:
    with ending_worker_of_lost_device():
        raise DeviceLostError("device 'cuda' is lost")
except DeviceLostError:
    print("still here")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--from=apache_beam.runners.worker.sdk_worker_main"], 1, "device 'cuda' is lost; this worker process ends"),
        ([], 0, ""),
    ],
    ids=["worker", "user"],
)
def test_a_runners_worker_ends_and_a_process_of_the_users_does_not(arguments, code, told):
    ended = subprocess.run([sys.executable, "-c", WORKER, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == code, ended.stderr
    assert told in ended.stderr
    assert ("still here" in ended.stdout) is (code == 0)
