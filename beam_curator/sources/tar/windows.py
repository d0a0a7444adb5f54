"""Opens a part of a file as a file of its own, and what such files have in common."""

from __future__ import annotations

import io
from typing import BinaryIO, cast


def window(file: BinaryIO, start: int, end: int) -> BinaryIO:
    """Opens the bytes of a file from `start` to `end` as a file of its own."""
    return cast(BinaryIO, _Window(file, start, end))


class Seekable:
    """What a file that is read from a place has in common: that place, in bytes from its start. A seek from the end is
    not meant."""

    _position = 0

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset if whence == io.SEEK_SET else self._position + offset
        return self._position

    def tell(self) -> int:
        return self._position


class _Window(Seekable, io.RawIOBase):
    def __init__(self, file: BinaryIO, start: int, end: int) -> None:
        self._file, self._start, self._end = file, start, end

    def read(self, size: int = -1) -> bytes:
        remaining = max(0, self._end - self._start - self._position)
        self._file.seek(self._start + self._position)
        data = self._file.read(min(size, remaining) if size >= 0 else remaining)
        self._position += len(data)
        return data
