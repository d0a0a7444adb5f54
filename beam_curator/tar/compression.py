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
from beam_curator.samples import Shard

_HEAD_BYTES = 10
_STEP_BYTES = 8 << 10
_MAX_XZ_MEMORY_BYTES = 256 << 20  # its strongest preset needs 65 MiB; a header may claim 4 GiB
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


def open_tar(shard: Shard, compression: str, read_ahead: bool = True) -> BinaryIO:
    """The shard's uncompressed bytes, seekable. In a compressed one, a seek reads all that comes before.

    Args:
      shard: which tar.
      compression: "gzip", "bzip2", "xz", or "" for none.
      read_ahead: False where a plain tar is read in pieces that are asked for as a whole.
    """
    ahead = read_ahead or bool(compression)
    return decompressed(files.open_for_reading(shard.url, shard.size_bytes, ahead), compression)


def decompressed(file: BinaryIO, compression: str) -> BinaryIO:
    """A file's uncompressed bytes; closing them closes the file. Reading damaged ones raises DamagedStreamError."""
    if not compression:
        return file
    return cast(BinaryIO, io.BufferedReader(_Decompressed(file, compression), buffer_size=1 << 16))


def is_decompressed(file: BinaryIO) -> bool:
    """Whether it is a decompressed stream, in which a step back may cost reading all that comes before."""
    return isinstance(getattr(file, "raw", None), _Decompressed)


def read_to_damage(tar: BinaryIO, length: int) -> tuple[bytes, DamagedStreamError | None]:
    """Up to `length` bytes of a decompressed stream: all that stand before damage, and the damage."""
    read = io.BytesIO()  # unlike a list of pieces, it never needs their memory twice
    missing = length
    try:
        while missing and (piece := cast(io.BufferedReader, tar).read1(min(missing, 1 << 18))):
            missing -= read.write(piece)
    except DamagedStreamError as damage:
        return read.getvalue(), damage
    return read.getvalue(), None


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


class _Streams:
    """One compressed stream after the other, as bzip2 and xz files hold them.

    The standard library's own files for them put no bound on the memory that an xz header claims, and pass over
    damage where a stream begins, with all that follows, as if the file ended there.
    """

    def __init__(self, file: BinaryIO, new_decompressor: Callable[[], Any], padding: bytes = b"") -> None:
        self._file, self._new_decompressor, self._padding = file, new_decompressor, padding
        self._rewind()

    def _rewind(self) -> None:
        self._file.seek(0)
        self._decompressor = self._new_decompressor()
        self._position = 0

    def read1(self, size: int) -> bytes:
        data = b""
        while size and not data:
            packed = b""
            if self._decompressor.eof:
                packed = self._next_stream()
                if not packed:
                    break
                self._decompressor = self._new_decompressor()
            elif self._decompressor.needs_input:
                packed = self._file.read(_STEP_BYTES)
                if not packed:
                    raise EOFError("Compressed file ended before the end-of-stream marker was reached")
            data = self._decompressor.decompress(packed, size)
        self._position += len(data)
        return data

    def _next_stream(self) -> bytes:
        """The first bytes of the stream after one that has ended, or none at the end of the file."""
        packed = self._decompressor.unused_data.lstrip(self._padding)
        while not packed and (read := self._file.read(_STEP_BYTES)):
            packed = read.lstrip(self._padding)
        return packed

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        target = offset if whence == io.SEEK_SET else self._position + offset
        if target < self._position:
            self._rewind()
        while self._position < target and self.read1(min(target - self._position, _STEP_BYTES)):
            pass
        return self._position

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        """Leaves the file under it open, as the standard library's compressed files do."""


_OPENERS: dict[str, Callable[[BinaryIO], Any]] = {
    "gzip": lambda file: gzip.GzipFile(fileobj=file, mode="rb"),
    "bzip2": lambda file: _Streams(file, bz2.BZ2Decompressor),
    "xz": lambda file: _Streams(file, lambda: lzma.LZMADecompressor(memlimit=_MAX_XZ_MEMORY_BYTES), padding=b"\0"),
}


def _is_bzip2_damage(error: BaseException) -> bool:
    """bzip2 says it with a plain OSError, which storage never raises: its faults have a number or a class."""
    return type(error) is OSError and error.errno is None
