"""What a device's errors mean, and what becomes of a pass, a model, a sample and a process that meets one."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from beam_curator.errors import JobError
from beam_curator.models import device_errors
from beam_curator.models.device_errors import DeviceLostError, wants_memory
from beam_curator.models.encoders import device_model
from beam_curator.models.encoders.clip import ClipEncoder, ClipSpec
from beam_curator.models.encoders.cuda_stream import DeviceStream
from beam_curator.models.scorers import calls
from tests.models.recording_model import RecordingModel, embeddings_alone, images, picture
from tests.patience import HANG_SECONDS

WANTS_MEMORY = {
    "allocator": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity"),
    "driver": RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    "cublas-handle": RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    "cublas": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "cudnn": RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    "host": RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried"),
    "python": MemoryError(),
}
OTHERS = {
    "kernel": RuntimeError("CUDA error: an illegal memory access was encountered"),
    "shape": RuntimeError("mat1 and mat2 shapes cannot be multiplied (1x2 and 3x4)"),
    "told": ValueError("CUDA out of memory"),
}


@pytest.mark.parametrize("name", WANTS_MEMORY)
def test_want_of_memory_is_known_in_all_its_shapes(name):
    assert wants_memory(WANTS_MEMORY[name])


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


WORKER = """
import logging, sys
from beam_curator.models.device_errors import DeviceLostError
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
