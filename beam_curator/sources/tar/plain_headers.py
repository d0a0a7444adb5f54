"""The headers that nearly all shards are made of, read and written without the standard library's detours.

What is plain is told by one strict pattern; all else is left to tarfile, whose results these equal (tests compare).
"""

from __future__ import annotations

import re
import tarfile
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_BLOCK = tarfile.BLOCKSIZE
PLAIN_HEADER_BYTES = 3 * _BLOCK
_HEADER = re.compile(
    rb"[^\0].{99}(?:[0-7]{7}\0){3}([0-7]{11})[\0 ][0-7]{11}[\0 ]([0-7]{6})\0 ([0x])\0{100}"
    rb"ustar(?:\x0000|  \0).{64}(?:[0-7]{7}\0|\0{8}){2}\0{167}",
    re.DOTALL,
)
"""Name, mode, owner and group, size, time, checksum, type, no link, POSIX or GNU, names, devices, no prefix."""

_TIME_RECORD = re.compile(rb"([0-9]{1,3}) mtime=[0-9]{1,20}(?:\.[0-9]{1,20})?\n")


class PlainHeader(NamedTuple):
    """A file's header: its name, the bytes of the header with what comes before it, and the size of its data."""

    name: str
    header_bytes: int
    size: int


def plain_header(start: bytes) -> PlainHeader | None:
    """The plain header of a regular file, with the PAX header that webdataset's own writer puts before each.

    Args:
      start: at least `PLAIN_HEADER_BYTES` of a tar from where an entry begins; less where the tar ends.

    Returns:
      None if it is not that, or not whole.
    """
    before = 0
    header = start[:_BLOCK]
    found = _HEADER.fullmatch(header)
    if found is not None and found[3] == b"x":
        size = int(found[1], 8)
        if not _has_checksum(header, found[2]) or not _is_time_record(start[_BLOCK : _BLOCK + min(size, _BLOCK)], size):
            return None
        before, header = 2 * _BLOCK, start[2 * _BLOCK : 3 * _BLOCK]
        found = _HEADER.fullmatch(header)
    if found is None or found[3] != b"0" or not _has_checksum(header, found[2]):
        return None
    name = header[:100].partition(b"\0")[0].decode("utf-8", "surrogateescape")
    return PlainHeader(name, before + _BLOCK, int(found[1], 8))


def _has_checksum(header: bytes, digits: bytes) -> bool:
    return int(digits, 8) == _checksum(header)


def _checksum(header: bytes) -> int:
    """The sum of a header's bytes, its checksum's own taken for spaces.

    Adler-32's lower half is one more than the sum of the bytes modulo 65521, which 256 bytes never reach: far faster
    than adding them up in Python.
    """
    total = (zlib.adler32(header[:256]) & 0xFFFF) + (zlib.adler32(header[256:]) & 0xFFFF) - 2
    return total - sum(header[148:156]) + 256


def _is_time_record(body: bytes, size: int) -> bool:
    """Tells whether a PAX header's records are one time of change, which says nothing of the member's name or size."""
    found = _TIME_RECORD.fullmatch(body)
    return found is not None and int(found[1]) == size == len(body)


def member_headers(names: Sequence[bytes], sizes: np.ndarray) -> tuple[np.ndarray, dict[int, bytes]]:
    """The headers of members without dates or owners, each as `tarfile.TarInfo` makes it in PAX format.

    They are made all at once: one after the other they take ten times as long.

    Args:
      names: n names, in the bytes that the tar is to have.
      sizes: int64 [n], the length of each one's data.

    Returns:
      uint8 [n, 512], and by their index those that one block cannot hold, or not as it is.
    """
    plain = (sizes < 8**11) & np.array([name.isascii() and len(name) <= tarfile.LENGTH_NAME for name in names], bool)
    blocks = np.tile(_EMPTY, (len(names), 1))
    blocks[:, _NAME] = np.array(names, f"S{tarfile.LENGTH_NAME}").view(np.uint8).reshape(-1, tarfile.LENGTH_NAME)
    blocks[:, _SIZE] = _octal(sizes, 11)
    sums = blocks[:, _NAME].sum(axis=1, dtype=np.int64) + blocks[:, _SIZE].sum(axis=1, dtype=np.int64)
    blocks[:, _CHECKSUM_DIGITS] = _octal(sums + _SUM_OF_THE_REST, 6)
    odd = np.flatnonzero(~plain).tolist()
    return blocks, {i: _header_by_tarfile(names[i].decode("utf-8", "surrogateescape"), int(sizes[i])) for i in odd}


def _octal(numbers: np.ndarray, digits: int) -> np.ndarray:
    """int64 [n] as octal digits in ASCII: uint8 [n, digits]."""
    return (numbers[:, None] >> np.arange(3 * digits - 3, -1, -3) & 7).astype(np.uint8) + np.uint8(ord("0"))


def _header_by_tarfile(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.PAX_FORMAT, tarfile.ENCODING, "surrogateescape")


_EMPTY = np.frombuffer(_header_by_tarfile("", 0), np.uint8)
_NAME, _SIZE, _CHECKSUM_DIGITS = slice(0, 100), slice(124, 135), slice(148, 154)
_SUM_OF_THE_REST = _checksum(_EMPTY.tobytes()) - int(_EMPTY[_SIZE].sum())
