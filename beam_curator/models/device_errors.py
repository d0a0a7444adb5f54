"""What an error of a device means: too little memory, which a smaller pass needs less of, or a device that is lost.

Torch tells want of memory in several ways, by what asked for it: its allocator raises `OutOfMemoryError`, the driver
"CUDA error: out of memory" (for pinned memory too), cuBLAS and cuDNN a status of theirs, the CPU's allocator a
RuntimeError.
"""

from __future__ import annotations

import re

from beam_curator.errors import JobError

_WANT_OF_MEMORY = re.compile(
    r"\b(CUDA|HIP|XPU|MPS backend)( error:)? out of memory"
    r"|CUBLAS_STATUS_(ALLOC_FAILED|NOT_INITIALIZED)"
    r"|CUDNN_STATUS_(ALLOC_FAILED|INTERNAL_ERROR_HOST_ALLOCATION_FAILED|INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED)"
    r"|DefaultCPUAllocator: (can't allocate|not enough) memory"
)
"""`CUBLAS_STATUS_NOT_INITIALIZED` is what cuBLAS says when it finds no room for its handle."""


class DeviceLostError(JobError):
    """The device raises at whatever this process asks of it: only another process can use it again."""


def wants_memory(error: BaseException) -> bool:
    """Whether an error says that there was too little memory, on a device or on the host. Torch need not be loaded."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and _WANT_OF_MEMORY.search(_text(error)) is not None


def is_lost(device: str) -> bool:
    """Whether a device raises when it is asked for nothing but to end what it does, as CUDA does for all that a process
    asks after an error within a kernel."""
    if device != "cuda":
        return False
    import torch

    try:
        torch.cuda.synchronize()
    except RuntimeError as error:
        return not wants_memory(error)
    return False


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return (_text(error).strip().splitlines() or [type(error).__name__])[0]


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # a user's own exception may raise here as well
        return ""
