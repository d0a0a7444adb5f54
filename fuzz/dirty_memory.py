"""Memory that is not zero where a program takes it: so that a result which depends on it differs."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

_M_PERTURB, _M_MMAP_THRESHOLD = -6, -3
_SIZES = [size for power in range(4, 17) for size in (1 << power, 3 << (power - 1))]
_PIECES = 2


@contextmanager
def dirty_memory(junk: int) -> Iterator[None]:
    """Has `malloc` give memory full of something else than zeros, within the block; another thing for another junk.

    Pieces of all sizes are filled and freed before. glibc's malloc fills whatever it gives and frees besides.

    Args:
      junk: 1..255.
    """
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    is_glibc = platform.libc_ver()[0] == "glibc"
    if is_glibc:
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)  # else large pieces come from the kernel, which gives zeros
        libc.mallopt(_M_PERTURB, junk)
    pieces = [libc.malloc(size) for size in _SIZES for _ in range(_PIECES)]
    for piece, size in zip(pieces, (size for size in _SIZES for _ in range(_PIECES)), strict=True):
        ctypes.memset(piece, junk, size)
        libc.free(piece)
    try:
        yield
    finally:
        if is_glibc:
            libc.mallopt(_M_PERTURB, 0)
