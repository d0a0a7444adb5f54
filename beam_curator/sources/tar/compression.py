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

import lz4.frame
from backports import zstd

from beam_curator.errors import first_line
from beam_curator.samples import Shard
from beam_curator.storage import files

_HEAD_BYTES = 13
_SKIPPABLE_FRAMES = 16
_STEP_BYTES = 8 << 10
_MAX_XZ_MEMORY_BYTES = 256 << 20  # its strongest preset needs 65 MiB; a header may claim 4 GiB
_MAX_ZSTD_WINDOW_LOG = 28  # 256 MiB; `zstd --ultra -22` needs 128 MiB
_LZ4_DAMAGE = "LZ4F_"
_DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, zstd.ZstdError)


class DamagedStreamError(Exception):
    """A compressed shard cannot be decompressed on from here: says which compression, and why."""


def detect_compression(file: BinaryIO) -> str:
    """The compression of a shard, by its first bytes, whatever its name: one of `COMPRESSIONS`, or "" for none."""
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    head = _past_skippable(file, head)
    file.seek(0)
    if head.startswith(b"\x1f\x8b\x08"):
        return "gzip"
    if head.startswith(b"BZh") and head[4:10] == b"1AY&SY":  # "BZh" alone may be how a plain tar's first name begins
        return "bzip2"
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return "zstd"
    if head.startswith(b"\x04\x22\x4d\x18"):
        return "lz4"
    if head.startswith(b"\xfd7zXZ\x00"):
        return "xz"
    return "lzma" if _begins_lzma(head) else ""


def _past_skippable(file: BinaryIO, head: bytes) -> bytes:
    """Returns the first bytes after the frames without content with which zstd and lz4 files may begin; pzstd writes
    one."""
    position = 0
    for _ in range(_SKIPPABLE_FRAMES):
        if len(head) < 8 or head[0] & 0xF0 != 0x50 or head[1:4] != b"\x2a\x4d\x18":
            break
        position += 8 + int.from_bytes(head[4:8], "little")
        file.seek(position)
        head = file.read(_HEAD_BYTES)
    return head


def _begins_lzma(head: bytes) -> bool:
    """Tells whether this is the header of `.lzma`, which has no magic: properties, a dictionary as encoders make it,
    and an uncompressed size, which may be left open. A tar's first name is followed by zeros, and makes a size of 0."""
    if len(head) < _HEAD_BYTES or head[0] != 0x5D:
        return False
    dictionary, size = int.from_bytes(head[1:5], "little"), int.from_bytes(head[5:13], "little")
    rounded = dictionary >= 1 << 12 and (dictionary & (dictionary - 1) == 0 or dictionary % 3 == 0)
    return rounded and (size == (1 << 64) - 1 or 0 < size < 1 << 40)


def open_tar(shard: Shard, compression: str, read_ahead: bool = True) -> BinaryIO:
    """The shard's uncompressed bytes, seekable. In a compressed one, a seek reads all that comes before.

    Args:
      shard: which tar.
      compression: one of `COMPRESSIONS`, or "" for none.
      read_ahead: False where a plain tar is read in pieces that are asked for as a whole.
    """
    ahead = read_ahead or bool(compression)
    return decompressed(files.open_for_reading(shard.path, shard.size_bytes, ahead), compression)


def decompressed(file: BinaryIO, compression: str) -> BinaryIO:
    """A file's uncompressed bytes; closing them closes the file. Reading damaged ones raises DamagedStreamError."""
    if not compression:
        return file
    return cast(BinaryIO, io.BufferedReader(_Decompressed(file, compression), buffer_size=1 << 16))


def is_decompressed(file: BinaryIO) -> bool:
    """Tells whether a file is a decompressed stream, in which a step back may cost reading all that comes before."""
    return isinstance(getattr(file, "raw", None), _Decompressed)


def read_to_damage(tar: BinaryIO, length: int) -> tuple[bytes, DamagedStreamError | None]:
    """Reads up to `length` bytes of a decompressed stream: all that stand before damage; gives the damage as well."""
    read = io.BytesIO()  # unlike a list of pieces, it never needs their memory twice
    missing = length
    try:
        while missing and (piece := cast(io.BufferedReader, tar).read1(min(missing, 1 << 18))):
            missing -= read.write(piece)
    except DamagedStreamError as damage:
        return read.getvalue(), damage
    return read.getvalue(), None


class _Decompressed(io.RawIOBase):
    """Decompresses a file in small steps, so that all that stands before damage can be read.

    A decompressor that has failed is not asked again: what stands before the damage is decompressed anew where it is
    asked for again. Closing this closes the file under it, which the standard library's compressed files leave open.
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
        if self._damage is not None and whence == io.SEEK_SET and offset < self.tell():
            self._file.seek(0)
            self._stream, self._damage = _OPENERS[self._compression](self._file), None
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
        except (*_DAMAGE, OSError, RuntimeError) as error:
            if not isinstance(error, _DAMAGE) and not _is_bzip2_damage(error) and not _is_lz4_damage(error):
                raise
            self._damage = DamagedStreamError(f"damaged {self._compression} stream: {first_line(error)}")
            raise self._damage from error


class _Streams:
    """Decompresses one stream after the other, as bzip2, xz, zstd and lz4 files hold them.

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
        packed = (self._decompressor.unused_data or b"").lstrip(self._padding)  # lz4 has None for nothing
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


_ZSTD_OPTIONS: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _MAX_ZSTD_WINDOW_LOG}
_OPENERS: dict[str, Callable[[BinaryIO], Any]] = {
    "gzip": lambda file: gzip.GzipFile(fileobj=file, mode="rb"),
    "bzip2": lambda file: _Streams(file, bz2.BZ2Decompressor),
    "xz": lambda file: _Streams(file, lambda: lzma.LZMADecompressor(memlimit=_MAX_XZ_MEMORY_BYTES), padding=b"\0"),
    "lzma": lambda file: _Streams(file, lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, _MAX_XZ_MEMORY_BYTES)),
    "zstd": lambda file: _Streams(file, lambda: zstd.ZstdDecompressor(options=_ZSTD_OPTIONS)),
    "lz4": lambda file: _Streams(file, lz4.frame.LZ4FrameDecompressor),
}

COMPRESSIONS = tuple(_OPENERS)
"""The compressions that shards may have."""


def _is_bzip2_damage(error: BaseException) -> bool:
    """bzip2 says it with a plain OSError, which storage never raises: its faults have a number or a class."""
    return type(error) is OSError and error.errno is None


def _is_lz4_damage(error: BaseException) -> bool:
    """lz4 says it with a plain RuntimeError that names its function."""
    return type(error) is RuntimeError and _LZ4_DAMAGE in str(error)
