"""Writes many pieces one after the other with few calls of the system."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Iterable, Iterator
from typing import Any

SMALL_BYTES = 16 << 10
"""Pieces under this are copied together; larger ones are written from where they are."""

_PIECES_AT_ONCE = 512
"""The system takes 1024 in one call."""


def write_all(file: Any, pieces: Iterable[Any]) -> None:
    """Writes bytes-like pieces to an open file, wherever it is.

    Raises:
      OSError: when they cannot be written, and what other errors the file has.
    """
    descriptor = descriptor_of(file)
    gathered = _gathered(pieces)
    if descriptor is None:
        for piece in gathered:
            file.write(piece)
        return
    file.flush()
    while some := list(itertools.islice(gathered, _PIECES_AT_ONCE)):
        _write_some(descriptor, some)


def descriptor_of(file: Any) -> int | None:
    """The system's number of a local file; None for others, which have their own way of writing."""
    try:
        return int(file.fileno()) if isinstance(file, io.BufferedWriter) else None
    except io.UnsupportedOperation:
        return None


def _gathered(pieces: Iterable[Any]) -> Iterator[Any]:
    small: list[Any] = []
    for piece in pieces:
        if len(piece) < SMALL_BYTES:
            small.append(piece)
            continue
        if small:
            yield small[0] if len(small) == 1 else b"".join(small)
            small = []
        yield piece
    if small:
        yield b"".join(small)


def _write_some(descriptor: int, pieces: list[Any]) -> None:
    while pieces:
        written = os.writev(descriptor, pieces)
        while pieces and written >= len(pieces[0]):
            written -= len(pieces.pop(0))
        if pieces:  # the disk is nearly full: the next call says so, or takes the rest
            pieces[0] = memoryview(pieces[0])[written:]
