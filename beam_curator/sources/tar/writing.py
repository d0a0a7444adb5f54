"""Writes a tar of members in few large writes."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import BinaryIO

from beam_curator.samples import Buffer

WRITE_BYTES = 4 << 20
"""Less than is read at once (`reading.READ_BYTES`): so what was read of neighbours is written before more is read."""


class TarWriter:
    """Gathers members to few large writes; their bytes are not copied.

    Attributes:
      bytes_written: how long the tar is.
    """

    def __init__(self, write: Callable[[list[Buffer]], None]) -> None:
        self._write = write
        self._gathered: list[Buffer] = []
        self._gathered_bytes = 0
        self.bytes_written = 0

    def add(self, pieces: Sequence[Buffer]) -> None:
        """Adds the bytes of whole members: of each its header, its data, and what pads it to whole blocks.

        Raises:
          StorageError: when they, or what was added before, could not be written.
        """
        size = sum(map(len, pieces))
        self.bytes_written += size
        self._gathered_bytes += size
        self._gathered += pieces
        if self._gathered_bytes >= WRITE_BYTES:
            self._write_gathered()

    def finish(self) -> None:
        """Writes the end-of-archive blocks, up to a whole record, and all that is still gathered.

        Raises:
          StorageError: when it could not be written.
        """
        end = 2 * tarfile.BLOCKSIZE
        self.add([bytes(end + -(self.bytes_written + end) % tarfile.RECORDSIZE)])
        self._write_gathered()

    def _write_gathered(self) -> None:
        gathered, self._gathered, self._gathered_bytes = self._gathered, [], 0
        if gathered:
            self._write(gathered)


class _Behind:
    """Writes pieces with a thread, one list after the other: while one is written, the next can be made."""

    def __init__(self, file: BinaryIO, pool: ThreadPoolExecutor) -> None:
        self._file, self._pool = file, pool
        self._under_way: Future[None] | None = None

    def write(self, pieces: list[Buffer]) -> None:
        self.wait()
        self._under_way = self._pool.submit(self._file.writelines, pieces)

    def wait(self) -> None:
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()


@contextmanager
def writing_tar(file: BinaryIO, behind: bool) -> Iterator[TarWriter]:
    """A writer of members to a file; when the block ends well, the tar is finished. Nothing is written after it.

    Args:
      file: what is written, by its `writelines`.
      behind: whether that has to wait for something: then it is done by a thread, while the next members are made.
        Bytes that the system takes at once are written faster by the thread that has just read them.
    """
    if not behind:
        writer = TarWriter(file.writelines)
        yield writer
        writer.finish()
        return
    with ThreadPoolExecutor(1, "write-behind") as pool:
        thread = _Behind(file, pool)
        writer = TarWriter(thread.write)
        yield writer
        writer.finish()
        thread.wait()
