"""Compressed shards, read as the tar that they hold."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from typing import BinaryIO, cast

from beam_curator import files

_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}

CORRUPT = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError)
"""What reading a damaged compressed stream raises (bzip2 says it with a plain OSError)."""


def detect_compression(file: BinaryIO) -> str:
    """The compression of a shard, by its first bytes, whatever its name: "gzip", "bzip2", "xz", or "" for none."""
    file.seek(0)
    head = file.read(8)
    file.seek(0)
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "")


def open_tar(url: str, compression: str) -> BinaryIO:
    """The shard's uncompressed bytes, seekable. In a compressed one, a seek reads all that comes before."""
    return decompressed(files.open_for_reading(url), compression)


def decompressed(file: BinaryIO, compression: str) -> BinaryIO:
    """A file's uncompressed bytes; closing them closes the file."""
    if not compression:
        return file
    opener = {"gzip": gzip.GzipFile, "bzip2": bz2.BZ2File, "xz": lzma.LZMAFile}[compression]
    stream = opener(fileobj=file, mode="rb") if compression == "gzip" else opener(file, mode="rb")
    return cast(BinaryIO, _ClosesBoth(stream, file))


class _ClosesBoth(io.BufferedReader):
    """A buffered stream that closes the file under it, which the standard library's compressed files leave open."""

    def __init__(self, stream: io.RawIOBase, file: BinaryIO) -> None:
        super().__init__(stream, buffer_size=1 << 20)
        self._file = file

    def close(self) -> None:
        super().close()
        self._file.close()
