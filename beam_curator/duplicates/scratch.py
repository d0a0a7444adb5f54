"""Arrays that are too long for memory, in temporary files: written piece by piece, then mapped."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beam_curator.errors import JobError

_IN_MEMORY_BYTES = 4 << 20
"""Shorter arrays stay in memory."""

_AT_A_TIME = 1 << 16
"""Rows that are worked on together, so that what a step makes of them stays small."""


def laid_aside(pieces: Iterable[NDArray[Any]], dtype: Any, *row: int) -> NDArray[Any]:
    """Pieces one after the other as one array, which may be written to: [n, *row].

    The file has no name, and is gone with the array, or with the process. It is written as a file: a store to a map of
    a full disk would end the process.

    Args:
      pieces: [m, *row] each.
      dtype: theirs.
      *row: the shape of each row.

    Raises:
      JobError: where there is no room for the file.
    """
    size = 0
    with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as file:
        for piece in pieces:
            with _told_if_full(size):
                file.write(np.ascontiguousarray(piece, dtype).data)
            size += piece.size * np.dtype(dtype).itemsize
        with _told_if_full(size):
            file.flush()
        if size > _IN_MEMORY_BYTES:
            return np.asarray(np.memmap(file, dtype, "r+")).reshape(-1, *row)
        file.seek(0)
        return np.frombuffer(bytearray(file.read()), dtype).reshape(-1, *row)


def filled(count: int, value: int, dtype: Any = np.int32) -> NDArray[Any]:
    """An array that holds one value everywhere, and may be written to: `dtype` [count].

    Raises:
      JobError: where there is no room for its file.
    """
    sizes = (min(_AT_A_TIME, count - start) for start in range(0, count, _AT_A_TIME))
    return laid_aside((np.full(size, value, dtype) for size in sizes), dtype)


def counted(count: int, dtype: Any = np.int64) -> NDArray[Any]:
    """The numbers from 0 to before `count`, in an array that may be written to: `dtype` [count].

    Raises:
      JobError: where there is no room for its file.
    """
    starts = range(0, count, _AT_A_TIME)
    return laid_aside((np.arange(start, min(start + _AT_A_TIME, count)) for start in starts), dtype)


def pieces_of(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The rows of an array, some at a time."""
    return (array[start : start + _AT_A_TIME] for start in range(0, len(array), _AT_A_TIME))


def in_ascending_order(values: NDArray[np.void]) -> Iterator[NDArray[np.int64]]:
    """The numbers of values of one length, the least first, of equal ones the lower number first: part by part, each of
    values that begin with the same byte. Names are digests, so that each part has about as many."""
    leading = values.view(np.uint8)[:: values.dtype.itemsize].copy()
    for first in np.unique(leading):
        numbers = np.flatnonzero(leading == first)
        yield numbers[np.argsort(values[numbers], kind="stable")]


@contextlib.contextmanager
def _told_if_full(size: int) -> Iterator[None]:
    """While some is written to a temporary file that has so many bytes before."""
    try:
        yield
    except OSError as error:
        raise JobError(
            f"the directory for temporary files: what is compared cannot be written there, after {size / 1e9:.1f} GB "
            f"({error.strerror or error}): set TMPDIR to a directory with more room"
        ) from error
