"""Writing a tar of members in few large writes, behind the back of what makes the members."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import BinaryIO

from beam_curator.samples import Buffer
from beam_curator.tar.plain import member_header

WRITE_BYTES = 4 << 20
_PADDING = bytes(tarfile.BLOCKSIZE)


class TarWriter:
    """Writes members without dates or owners, the bytes that `tarfile` writes in PAX format. `writing_tar` makes one.

    What was added is gathered, and written by a thread of its own while the next members are being made; a large member
    is written as it is, without a copy. About twice `WRITE_BYTES` are held, or two large members.

    Attributes:
      bytes_written: how long the tar is.
    """

    def __init__(self, file: BinaryIO, pool: ThreadPoolExecutor) -> None:
        self._file, self._pool = file, pool
        self._gathered: list[Buffer] = []
        self._gathered_bytes = 0
        self._under_way: Future[int] | None = None
        self.bytes_written = 0

    def add(self, name: str, data: Buffer) -> None:
        """Adds a member.

        Raises:
          StorageError: when what was added before could not be written.
        """
        size = len(data)
        padding = _PADDING[size % tarfile.BLOCKSIZE or tarfile.BLOCKSIZE :]
        if size < WRITE_BYTES:
            self._put(member_header(name, size), data, padding)
        else:
            self._put(member_header(name, size))
            self._write_gathered()
            self._put(data)  # alone, so that it is not copied
            self._put(padding)

    def finish(self) -> None:
        """Writes the end-of-archive blocks, up to a whole record, and all that is still gathered.

        Raises:
          StorageError: when it could not be written.
        """
        self._put(bytes(2 * tarfile.BLOCKSIZE))
        self._put(bytes(-self.bytes_written % tarfile.RECORDSIZE))
        self._write_gathered()
        self._wait()

    def _put(self, *pieces: Buffer) -> None:
        size = sum(map(len, pieces))
        self.bytes_written += size
        self._gathered_bytes += size
        self._gathered += pieces
        if self._gathered_bytes >= WRITE_BYTES:
            self._write_gathered()

    def _write_gathered(self) -> None:
        if self._gathered:
            self._wait()
            self._under_way = self._pool.submit(self._write, self._gathered)
        self._gathered, self._gathered_bytes = [], 0

    def _write(self, pieces: list[Buffer]) -> int:
        return self._file.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def _wait(self) -> None:
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()


@contextmanager
def writing_tar(file: BinaryIO) -> Iterator[TarWriter]:
    """A writer of members to a file; when the block ends well, the tar is finished. Nothing is written after it."""
    with ThreadPoolExecutor(1, "write-behind") as pool:
        writer = TarWriter(file, pool)
        yield writer
        writer.finish()
