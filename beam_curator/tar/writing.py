"""Writing a tar of members in few large writes."""

from __future__ import annotations

import tarfile
from typing import BinaryIO

from beam_curator.samples import Buffer
from beam_curator.tar.plain import member_header

GATHERED_BYTES = 1 << 20
LARGE_BYTES = 64 << 10
_PADDING = bytes(tarfile.BLOCKSIZE)


class TarWriter:
    """Writes members without dates or owners, the bytes that `tarfile` writes in PAX format.

    Small pieces are gathered and written together; large members are written as they are, without a copy.

    Attributes:
      bytes_written: how long the tar is.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._gathered: list[Buffer] = []
        self._gathered_bytes = 0
        self.bytes_written = 0

    def add(self, name: str, data: Buffer) -> None:
        """Adds a member."""
        size = len(data)
        self._put(member_header(name, size))
        self._put(data)
        if size % tarfile.BLOCKSIZE:
            self._put(_PADDING[size % tarfile.BLOCKSIZE :])

    def finish(self) -> None:
        """Writes the end-of-archive blocks, up to a whole record, and all that is still gathered."""
        self._put(bytes(2 * tarfile.BLOCKSIZE))
        self._put(bytes(-self.bytes_written % tarfile.RECORDSIZE))
        self._write_gathered()

    def _put(self, piece: Buffer) -> None:
        size = len(piece)
        self.bytes_written += size
        if size >= LARGE_BYTES:
            self._write_gathered()
            self._file.write(piece)
            return
        self._gathered.append(piece)
        self._gathered_bytes += size
        if self._gathered_bytes >= GATHERED_BYTES:
            self._write_gathered()

    def _write_gathered(self) -> None:
        if self._gathered:
            self._file.write(b"".join(self._gathered))
        self._gathered, self._gathered_bytes = [], 0
