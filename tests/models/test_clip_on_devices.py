"""Precision, memory and compiling: what the device decides."""

import contextlib
import copy

import numpy as np
import pytest
import torch

from beam_curator.errors import CurationError, UsageError
from beam_curator.models.encoders import device_model, onednn_vit, tiny_untrained, vit_blocks
from beam_curator.models.encoders.clip import ClipEncoder, ClipSpec
from beam_curator.models.encoders.device_model import DeviceModel
from beam_curator.models.encoders.encoder import load_tower
from beam_curator.models.encoders.open_clip_tower import OpenClipEncoder
from beam_curator.models.encoders.precision import cast_matrices, exact_products, resolve_device, resolve_precision
from beam_curator.models.encoders.torch_steps import TorchSteps
from beam_curator.models.encoders.vit_blocks import rewrite_blocks
from beam_curator.models.encoders.vit_rewrites import CastPatches
from tests.models.small_clip import PHOTOGRAPHS, SMALL, cosines, encode, load_error, open_clip_embeddings

pytestmark = pytest.mark.usefixtures("small_architectures")


@pytest.mark.slow
def test_bf16_on_this_cpu_stays_within_a_ten_thousandth_of_fp32(checkpoint):
    fp32 = open_clip_embeddings(SMALL, checkpoint, PHOTOGRAPHS)
    bf16 = encode(PHOTOGRAPHS, model=SMALL, checkpoint=checkpoint, precision="bf16").embeddings
    assert cosines(fp32, bf16).min() >= 0.9999


@pytest.mark.slow
def test_bf16_copies_no_weights_for_each_image(checkpoint, monkeypatch):
    # Of frozen parameters torch's matmul does so under autocast: seen as products for each image, 15 times as slow.
    monkeypatch.setattr(onednn_vit, "runs_here", lambda module, dtype: False)
    model = DeviceModel(SMALL, load_tower(OpenClipEncoder(SMALL, checkpoint)), "cpu", "bf16", 4)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True) as profile:
        model.run(model.new_buffer(4).zero_())
    operations = profile.key_averages(group_by_input_shape=True)
    assert "aten::addmm" in {event.key for event in operations}
    products = {event.input_shapes[0][0] for event in operations if event.key == "aten::bmm"}
    assert products <= {4 * 2}  # images x heads: attention's own


@pytest.mark.slow
def test_what_is_no_plain_vision_transformer_runs_under_autocast(checkpoint):
    tower = load_tower(OpenClipEncoder(SMALL, checkpoint))
    plain = copy.deepcopy(tower.module)
    assert not cast_matrices(plain, "bf16")
    plain.conv1 = CastPatches(plain.conv1)
    rewrite_blocks(plain, TorchSteps())
    other = type("Other", (type(tower.module),), {})
    tower.module.__class__ = other
    assert cast_matrices(tower.module, "bf16")
    pixels = torch.rand(3, 3, 224, 224)
    with torch.inference_mode():
        by_itself = plain(pixels)
        with torch.autocast("cpu", torch.bfloat16):
            by_autocast = tower.module(pixels)
    assert by_itself.dtype == torch.float32
    assert cosines(by_itself.numpy(), by_autocast.float().numpy()).min() >= 0.9999


def test_fp32_on_a_gpu_is_no_tensor_float_32_whatever_the_program_has_set():
    settings = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [one.allow_tf32 for one in settings]
    try:
        for one in settings:
            one.allow_tf32 = True
        for device, precision, allowed in (("cuda", "fp32", False), ("cuda", "bf16", True), ("cpu", "fp32", True)):
            with exact_products(device, precision):
                assert [one.allow_tf32 for one in settings] == [allowed] * 2
            assert [one.allow_tf32 for one in settings] == [True] * 2
    finally:
        for one, was in zip(settings, before, strict=True):
            one.allow_tf32 = was


def test_fp32_stays_fp32_until_the_last_of_all_threads_has_left():
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    try:
        one, other = exact_products("cuda", "fp32"), exact_products("cuda", "fp32")
        with contextlib.ExitStack() as last:
            with one:
                last.enter_context(other)
            assert not torch.backends.cudnn.allow_tf32
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32 = before


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="this torch has no such settings")
def test_programs_that_set_precision_as_torch_does_it_today_are_borne_with():
    settings = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)
    before = [one.fp32_precision for one in settings]
    try:
        settings[0].fp32_precision = "tf32"
        with exact_products("cuda", "fp32"):
            assert [one.fp32_precision for one in settings] == ["ieee"] * 3
        assert [one.fp32_precision for one in settings] == ["tf32", *before[1:]]
    finally:
        for one, was in zip(settings, before, strict=True):
            one.fp32_precision = was


def test_a_model_computes_within_that(monkeypatch):
    within: list[tuple[str, str]] = []
    monkeypatch.setattr(device_model, "exact_products", lambda *given: within.append(given) or contextlib.nullcontext())
    encode(PHOTOGRAPHS[:1], model="tiny-untrained", precision="fp32")
    assert within == [("cpu", "fp32")]


def out_of_memory_above(limit: int, monkeypatch) -> list[int]:
    """Makes passes of more than `limit` images run out of memory. A fake: the CPU has no such error to give."""
    sizes: list[int] = []
    forward = DeviceModel._forward

    def limited(self: DeviceModel, pixels: torch.Tensor) -> torch.Tensor:
        sizes.append(len(pixels))
        if len(pixels) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return forward(self, pixels)

    monkeypatch.setattr(DeviceModel, "_forward", limited)
    return sizes


def test_out_of_memory_halves_the_micro_batch_and_keeps_it_small(monkeypatch):
    expected = encode(PHOTOGRAPHS, model="tiny-untrained").embeddings
    sizes = out_of_memory_above(3, monkeypatch)
    encoder = ClipEncoder(ClipSpec("tiny-untrained", precision="fp32", device="cpu", batch_size=8, decode_threads=1))
    got = encoder.encode(PHOTOGRAPHS).embeddings
    assert np.abs(got.astype(float) - expected).max() < 1e-3
    assert (encoder.batch_size, encoder.batch_reductions) == (2, 2)
    assert sizes == [8, 4, 2, 2, 2, 2, 2]
    encoder.encode(PHOTOGRAPHS[:4])
    assert sizes[7:] == [2, 2]
    assert encoder.batch_reductions == 2


def test_one_image_that_does_not_fit_is_an_error_that_says_what_to_do(monkeypatch):
    out_of_memory_above(0, monkeypatch)
    with pytest.raises(CurationError) as caught:
        encode(PHOTOGRAPHS, model="tiny-untrained")
    assert str(caught.value) == (
        "not even one image at a time fits in the memory of device 'cpu' beside model 'tiny-untrained' in fp32 "
        "(CUDA out of memory. Tried to allocate 20.00 GiB.): free memory there, or take a larger device or a "
        "smaller model"
    )


def test_a_model_that_does_not_fit_is_an_error_that_says_what_to_do(monkeypatch):
    def rewrite(module, steps):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    monkeypatch.setattr(onednn_vit, "rewrite_blocks", rewrite)
    monkeypatch.setattr(vit_blocks, "rewrite_blocks", rewrite)
    assert load_error(model="tiny-untrained") == (
        "model 'tiny-untrained' does not fit in the memory of device 'cpu' (CUDA out of memory. Tried to allocate "
        "20.00 MiB.): free memory there, or take a larger device or a smaller model"
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_asked_for_and_absent_is_an_error_not_a_fallback():
    assert load_error(model="tiny-untrained", device="cuda").startswith(
        "device 'cuda' was asked for, and torch finds no CUDA device on this machine: "
    )
    assert load_error(model="tiny-untrained", device="auto", precision="fp16") == (
        "precision 'fp16' needs a CUDA device, not 'cpu': give precision 'bf16' or 'fp32'"
    )


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_in_a_fork_of_a_process_that_uses_cuda_no_other_device_takes_its_place(device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    with pytest.raises(UsageError, match="this process is a fork of one that uses CUDA, where CUDA cannot be used"):
        resolve_device(device)
    assert resolve_device("cpu") == "cpu"


def test_auto_takes_what_the_machine_has():
    encoder = ClipEncoder(ClipSpec("tiny-untrained"))
    encoder.load()
    assert encoder.device == ("cuda" if torch.cuda.is_available() else "cpu")
    assert encoder.precision in ("bf16", "fp32")
    assert not encoder.trained
    assert ClipEncoder(ClipSpec("ViT-L-14")).trained


@pytest.mark.parametrize(("native", "precision"), [(True, "bf16"), (False, "fp32")])
def test_auto_is_bf16_only_on_gpus_that_compute_it(native, precision, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native)
    assert resolve_precision("auto", "cuda") == precision


@pytest.mark.slow
def test_a_compiled_model_gives_the_same_embeddings(monkeypatch):
    monkeypatch.setattr(tiny_untrained.TinyUntrained, "load", _flat_module)  # compiled in seconds
    options = {"model": "tiny-untrained", "batch_size": 4}
    plain = encode(PHOTOGRAPHS, **options).embeddings.astype(float)
    compiled = encode(PHOTOGRAPHS, **options, compile=True).embeddings.astype(float)
    assert plain.any(axis=1).all()
    assert np.abs(plain - compiled).max() < 1e-3


def _flat_module(encoder: tiny_untrained.TinyUntrained) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.AvgPool2d(32), torch.nn.Flatten(), torch.nn.Linear(147, encoder.dim))


def test_a_model_that_cannot_be_compiled_is_an_error_that_says_what_to_do(monkeypatch):
    def compile(module, dynamic):
        def run(*inputs):
            raise RuntimeError("no working C++ compiler found\nmore of it")

        return run

    monkeypatch.setattr(torch, "compile", compile)
    assert load_error(model="tiny-untrained", compile=True) == (
        "torch.compile cannot compile model 'tiny-untrained' for device 'cpu' on this machine: no working C++ compiler "
        "found; install what it asks for (a C++ compiler, or Triton for CUDA), or leave it out"
    )
