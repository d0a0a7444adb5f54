"""Open files: reads that give all that they are asked for, and errors that name the file."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

from beam_curator.storage.fsspec_files import SizeNotToldError
from beam_curator.storage.local_writing import write_all
from beam_curator.storage.retrying import naming

_FIRST_PIECE_BYTES = 16 << 20


def read_fully(file: BinaryIO, size: int) -> bytes:
    """Reads `size` bytes, or all up to the end if it is negative; one `read` of a file may give less than there is."""
    if size < 0:
        return file.read()
    pieces: list[bytes] = []
    while size > 0 and (piece := file.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def read_at_most(file: BinaryIO, limit: int) -> bytes:
    """Reads a whole file, or its first `limit` bytes.

    It reads in pieces, because Python allocates memory for all that one read asks for, however small the file is.

    Args:
      file: as `files.open_for_reading` gives it: a read that gives less than it is asked for has met the end.
      limit: in bytes, far more than is expected.
    """
    pieces: list[bytes] = []
    missing, wanted = limit, _FIRST_PIECE_BYTES
    while missing:
        asked = min(missing, wanted)
        pieces.append(file.read(asked))
        if len(pieces[-1]) < asked:
            break
        missing, wanted = missing - asked, 2 * wanted
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class NamedReader(io.RawIOBase):
    """An open file whose reads give all bytes that they are asked for, and whose errors name it."""

    def __init__(
        self, file: BinaryIO, url: str, size_bytes: int | None, asks_size: bool, size_of: Callable[[str], int]
    ) -> None:
        """Wraps an open file.

        Args:
          file: the file, at its beginning.
          url: what errors call it.
          size_bytes: its size, if known.
          asks_size: whether its size is asked for at its end, where it is not known.
          size_of: asks for a file's size in bytes.
        """
        super().__init__()
        self._file, self._url, self._size_bytes, self._asks_size = file, url, size_bytes, asks_size
        self._size_of = size_of
        self._position: int | None = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        wanted = -1 if size is None else size
        position, self._position = self._position, None  # not known if this fails
        with naming("read", self._url):
            data = read_fully(self._file, wanted)
            if wanted < 0 or len(data) < wanted:
                self._check_end()
        self._position = None if position is None else position + len(data)
        return data

    def _check_end(self) -> None:
        """Raises OSError if the file is longer than what was read, so that its connection has ended too early."""
        if self._size_bytes is None and self._asks_size:
            try:
                self._size_bytes = self._size_of(self._url)
            except SizeNotToldError:
                return  # sent in chunks, or compressed: then the client sees that the end is missing
        end = self._file.tell()
        if self._size_bytes is not None and end < self._size_bytes and end < self._size_of(self._url):
            raise OSError(f"the connection ended at byte {end} of {self._size_bytes}")

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET and offset == self._position:
            return offset  # without asking the system, for which a thread would give up Python's lock
        with naming("read", self._url):
            self._position = self._file.seek(offset, whence)
        return self._position

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        super().close()
        self._file.close()


class NamedWriter(io.RawIOBase):
    """A new file, whose errors give its final name."""

    def __init__(self, file: Any, final: str) -> None:
        super().__init__()
        self._file, self._url = file, final

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        with naming("write", self._url):
            self._file.write(data)
        return memoryview(data).nbytes

    def writelines(self, pieces: Iterable[Any]) -> None:
        """Writes these pieces one after the other; for a local file, large ones without copying them in memory."""
        with naming("write", self._url):
            write_all(self._file, pieces)

    def close(self) -> None:
        if not self.closed:
            super().close()
            with naming("write", self._url):
                self._file.close()
