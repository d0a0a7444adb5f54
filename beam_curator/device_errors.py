"""Classifies errors of a device: it has too little memory, so that a smaller pass may fit; or it is lost.

Each library reports a lack of memory in its own way: torch's allocator raises `OutOfMemoryError`, the driver
"CUDA error: out of memory" (for pinned memory too, and for the first thing that a process asks of a full GPU), cuBLAS
and cuDNN a status of theirs, Triton an error of its own, the CPU's allocator a RuntimeError. On a part of a GPU (MIG)
torch's allocator fails in asking NVML whose processes are there (pytorch#112377), and where there is no room for any of
its algorithms, cuDNN finds none. A user's scorer may be of another library.
"""

from __future__ import annotations

import errno
import os
import re

from beam_curator.errors import JobError, first_line, text_of

_WANT_OF_MEMORY = re.compile(
    r"\b(CUDA|HIP|XPU|MPS backend)( driver)?( error:)? out of memory"
    r"|Triton Error \[(CUDA|HIP)\]: out of memory"
    r"|cudaErrorMemoryAllocation|std::bad_alloc"
    r"|(CU|HIP)(BLAS|DNN)_STATUS_(ALLOC_FAILED|NOT_INITIALIZED)"
    r"|CUDNN_STATUS_INTERNAL_ERROR_(HOST|DEVICE)_ALLOCATION_FAILED"
    r"|unable to find an engine to execute this computation|Unable to find a valid cuDNN algorithm"
    r"|NVML_SUCCESS == .* INTERNAL ASSERT FAILED at .*CUDACachingAllocator"
    r"|CU(SOLVER_STATUS|SPARSE_STATUS|FFT)_ALLOC_FAILED"
    r"|DefaultCPUAllocator: (can't allocate|not enough) memory|unable to mmap .*Cannot allocate memory"
    # the dynamic linker, and Python where a thread finds no room (or no more may be started)
    r"|failed to map segment from shared object|\bcan't start new thread"
    # ONNX Runtime, JAX, TensorFlow, OpenCV, Numba
    r"|BFCArena.* Failed to allocate memory|CUDA failure 2: out of memory|RESOURCE_EXHAUSTED: Out of memory"
    r"|\bOOM when allocating tensor|Insufficient memory\) Failed to allocate|CUDA_ERROR_OUT_OF_MEMORY"
)
"""`NOT_INITIALIZED` is what cuBLAS and cuDNN say when they find no room for their handles."""

_MEMORY_ERROR = re.compile(r"(\w+\.)*\w*MemoryError(?=$|:| \[while running)")
"""Python's, NumPy's (`_ArrayMemoryError`), Arrow's and torch's, as a traceback ends with them."""

_LOOK_FOR_XID = "look for the GPU's errors in the system's log (Xid)"


class DeviceLostError(JobError):
    """The device raises at whatever this process asks of it: only another process can use it again."""

    @classmethod
    def after(cls, error: BaseException, device: str, where: str, look: str = _LOOK_FOR_XID) -> DeviceLostError:
        """Makes what is raised in place of an error that lost the device, or was met on one that was lost before.

        Args:
          error: what was raised.
          device: "cuda".
          where: what raised it, such as "model 'ViT-L-14'".
          look: where to look for its cause.
        """
        return cls(
            f"device '{device}' is lost to this process after an error in {where} ({first_line(error)}): what is "
            f"scored is kept; run the same command again, and if it comes back, {look}"
        )


def wants_memory(error: BaseException) -> bool:
    """Tells whether an error says that there was too little memory, on a device or on the host. Torch need not be
    loaded."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    of_library = isinstance(error, (RuntimeError, ImportError)) or type(error).__module__ != "builtins"
    return of_library and _WANT_OF_MEMORY.search(text_of(error)) is not None


def told_of_memory(text: str) -> str | None:
    """The first line of a text, such as a worker's traceback, that reports too little memory; None if no line does."""
    lines = (line.strip() for line in re.split(r"\n|\\n", text))  # a runner may quote what a worker said
    return next((line for line in lines if _MEMORY_ERROR.match(line) or _WANT_OF_MEMORY.search(line)), None)


def is_lost(device: str) -> bool:
    """Tells whether a device is lost to this process: CUDA raises at every call of a process after an error within a
    kernel, even where it is only asked to synchronise. Call this before `wants_memory`: on a lost device cuBLAS finds
    no handle either, as where memory is lacking."""
    if device != "cuda":
        return False
    import torch

    try:
        torch.cuda.synchronize()
    except RuntimeError as error:
        return not wants_memory(error)
    return False


def refuse_in_fork(process: int, what: str, device: str) -> None:
    """Raises JobError in a fork of the process that loaded something: its threads, and CUDA, are not there.

    Args:
      process: the id of the process that loaded it.
      what: what was loaded, such as "model 'ViT-L-14'".
      device: the device it was loaded on.
    """
    if os.getpid() != process:
        raise JobError(
            f"{what} was loaded on device '{device}' by a process of which this one is a fork, where neither its "
            "threads nor CUDA work: start processes by 'spawn', or load the model in each of them"
        )


def is_in_fork_of_cuda() -> bool:
    """Tells whether this process is a fork of one that uses CUDA, where torch finds no device that is there. Imports
    torch."""
    import torch

    return bool(torch.cuda._is_in_bad_fork())  # private; the public way, torch.cuda.init, would take memory of a device
