"""Chooses the device that a model runs on, and its floating-point precision."""

import contextlib
import platform
import sys
from typing import TYPE_CHECKING

from beam_curator.device_errors import is_in_fork_of_cuda
from beam_curator.errors import UsageError
from beam_curator.tf32 import no_tf32

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def resolve_device(device: str) -> str:
    """ "auto" as "cuda" where there is one, else "cpu". What is asked for by name is never replaced.

    Raises:
      UsageError: "cuda", and there is none; or not "cpu", and this process is a fork of one that uses CUDA, where torch
        finds no device that is there.
    """
    import torch

    if device != "cpu" and is_in_fork_of_cuda():
        raise UsageError(_FORKED)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "device 'cuda' was asked for, and torch finds no CUDA device on this machine: "
            "check the driver and torch's build, or give device 'auto' or 'cpu'"
        )
    return device


_FORKED = (
    "this process is a fork of one that uses CUDA, where CUDA cannot be used: start processes by 'spawn' "
    "(multiprocessing.set_start_method), leave CUDA alone before they are forked, or give device 'cpu'"
)


def resolve_precision(precision: str, device: str) -> str:
    """ "auto" as "bf16" on GPUs (from Ampere on) and CPUs with bfloat16 instructions, else "fp32".

    Raises:
      UsageError: as `check_precision`.
    """
    check_precision(precision, device)
    if precision != "auto":
        return precision
    return "bf16" if (_gpu_computes_bf16() if device == "cuda" else _cpu_computes_bf16()) else "fp32"


def resolve_caption_precision(precision: str, device: str) -> str:
    """Chooses the precision for captions as `resolve_precision` does for images, but for "auto": "fp16" on any GPU, as
    fast there as bf16 and eight times as exact, and "fp32" on the CPU.

    Raises:
      UsageError: as `check_precision`.
    """
    check_precision(precision, device)
    if precision != "auto":
        return precision
    return "fp16" if device == "cuda" else "fp32"


def check_here(precision: str, device: str) -> None:
    """Refuses what this machine cannot compute; torch, seconds to import, is not asked where it could refuse nothing.

    Raises:
      UsageError: as `resolve_device` and `resolve_precision`.
    """
    if device == "cuda" or precision == "fp16" or "torch" in sys.modules:
        resolve_precision(precision, resolve_device(device))


def check_precision(precision: str, device: str) -> None:
    """Refuses the pairs that no machine computes.

    Raises:
      UsageError: "fp16" on "cpu".
    """
    if precision == "fp16" and device == "cpu":
        raise UsageError("precision 'fp16' needs a CUDA device, not 'cpu': give precision 'bf16' or 'fp32'")


def torch_dtype(precision: str) -> "torch.dtype":
    """torch's name of a resolved precision."""
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def sound_attention(device: str) -> contextlib.AbstractContextManager[None]:
    """Keeps torch before 2.10 from cuDNN's attention, which is wrong at lengths that 128 does not divide, such as
    ViT-L/14's 257 and the 77 of a text (pytorch/pytorch#169849): what runs within this takes another."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    if device != "cuda" or torch.torch_version.TorchVersion(torch.__version__) >= "2.10":
        return contextlib.nullcontext()
    return sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH])


def exact_products(device: str, precision: str) -> contextlib.AbstractContextManager[None]:
    """Within this, fp32 is fp32 on a GPU: see `tf32.no_tf32`."""
    return no_tf32() if device == "cuda" and precision == "fp32" else contextlib.nullcontext()


def cast_matrices(module: "torch.nn.Module", precision: str) -> bool:
    """Casts, in place, what multiplies matrices; LayerNorms, and the sum that runs through the layers, stay
    fp32: a third as far from fp32 as a whole model in half precision.

    open_clip's plain vision transformers cast between the two by themselves once `vit_blocks.rewrite_blocks` has them
    do so, as fast as a whole model in half precision.

    Returns:
      Whether the module has to run under autocast, which is slower: it keeps torch from its fast attention.
    """
    import torch

    from beam_curator.models.encoders.vit_rewrites import is_plain

    if precision == "fp32":
        return False
    dtype = torch_dtype(precision)
    for part in module.modules():
        if isinstance(part, (torch.nn.Linear, torch.nn.Conv2d, torch.nn.MultiheadAttention)):
            part.to(dtype)
    if is_plain(module):
        return False
    first_norm = getattr(module, "ln_pre", None)
    if isinstance(first_norm, torch.nn.Module):
        first_norm.register_forward_hook(lambda _module, _inputs, output: output.float())
    return True


def _gpu_computes_bf16() -> bool:
    """Tells whether this GPU has bfloat16 instructions: T4 and V100 only emulate them."""
    import torch

    return torch.cuda.is_bf16_supported(including_emulation=False)


def _cpu_computes_bf16() -> bool:
    """Tells whether this CPU has bfloat16 instructions; emulated ones are slower than float32."""
    import torch

    if platform.machine().lower() in ("aarch64", "arm64"):
        # On x86 this call also answers True where oneDNN only emulates.
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return _cpu_has("_is_avx512_bf16_supported") or cpu_multiplies_in_tiles()


def cpu_multiplies_in_tiles() -> bool:
    """Tells whether this CPU has Intel's AMX, which multiplies bfloat16 matrices in tiles."""
    return _cpu_has("_is_amx_tile_supported")


def _cpu_has(probe: str) -> bool:
    """Asks a function of `torch.cpu` about the processor. Private names: torch has no public ones, and not every
    release has both."""
    import torch

    found = getattr(torch.cpu, probe, None)
    return found is not None and bool(found())
