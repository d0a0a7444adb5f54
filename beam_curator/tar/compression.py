"""Compressed shards, read as the tar that they hold."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

from beam_curator import files

_HEAD_BYTES = 10
_STEP_BYTES = 8 << 10
_DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError)


class DamagedStreamError(Exception):
    """A compressed shard cannot be decompressed on from here: says which compression, and why."""


def detect_compression(file: BinaryIO) -> str:
    """The compression of a shard, by its first bytes, whatever its name: "gzip", "bzip2", "xz", or "" for none."""
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    if head.startswith(b"\x1f\x8b\x08"):
        return "gzip"
    if head.startswith(b"BZh") and head[4:] == b"1AY&SY":  # "BZh" alone may be how a plain tar's first name begins
        return "bzip2"
    return "xz" if head.startswith(b"\xfd7zXZ\x00") else ""


def open_tar(url: str, compression: str) -> BinaryIO:
    """The shard's uncompressed bytes, seekable. In a compressed one, a seek reads all that comes before."""
    return decompressed(files.open_for_reading(url), compression)


def decompressed(file: BinaryIO, compression: str) -> BinaryIO:
    """A file's uncompressed bytes; closing them closes the file. Reading damaged ones raises DamagedStreamError."""
    if not compression:
        return file
    return cast(BinaryIO, io.BufferedReader(_Decompressed(file, compression), buffer_size=1 << 16))


def read_to_damage(tar: BinaryIO, length: int) -> tuple[bytes, DamagedStreamError | None]:
    """Up to `length` bytes of a decompressed stream: all that stand before damage, and the damage."""
    pieces: list[bytes] = []
    missing = length
    try:
        while missing and (piece := cast(io.BufferedReader, tar).read1(min(missing, 1 << 18))):
            pieces.append(piece)
            missing -= len(piece)
    except DamagedStreamError as damage:
        return b"".join(pieces), damage
    return b"".join(pieces), None


class _Decompressed(io.RawIOBase):
    """What a compressed file holds, decompressed in small steps, so that all that stands before damage can be read.

    Damage is final: a decompressor that has failed is not asked again. Closing this closes the file under it, which
    the standard library's compressed files leave open.
    """

    def __init__(self, file: BinaryIO, compression: str) -> None:
        super().__init__()
        self._file, self._compression = file, compression
        self._stream = _OPENERS[compression](file)
        self._damage: DamagedStreamError | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        with self._naming_damage():
            data = self._stream.read1(min(len(buffer), _STEP_BYTES))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with self._naming_damage():
            return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def close(self) -> None:
        super().close()
        self._stream.close()
        self._file.close()

    @contextlib.contextmanager
    def _naming_damage(self) -> Iterator[None]:
        if self._damage is not None:
            raise self._damage
        try:
            yield
        except (*_DAMAGE, OSError) as error:
            if not isinstance(error, _DAMAGE) and not _is_bzip2_damage(error):
                raise
            self._damage = DamagedStreamError(f"damaged {self._compression} stream: {files.first_line(error)}")
            raise self._damage from error


_OPENERS: dict[str, Callable[[BinaryIO], Any]] = {
    "gzip": lambda file: gzip.GzipFile(fileobj=file, mode="rb"),
    "bzip2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
}


def _is_bzip2_damage(error: BaseException) -> bool:
    """bzip2 says it with a plain OSError, which storage never raises: its faults have a number or a class."""
    return type(error) is OSError and error.errno is None
