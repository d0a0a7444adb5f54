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

from beam_curator.samples import Buffer, Member, Sample
from beam_curator.tar.names import split_name

_BLOCK = tarfile.BLOCKSIZE
PLAIN_HEADER_BYTES = 3 * _BLOCK
_RESERVED = re.compile(r"__(key|url|bad|local_path)__|.*\0.*", re.DOTALL)
_HEADER = re.compile(
    rb"[^\0].{99}(?:[0-7]{7}\0){3}([0-7]{11})[\0 ][0-7]{11}[\0 ]([0-7]{6})\0 ([0x])\0{100}"
    rb"ustar(?:\x0000|  \0).{64}(?:[0-7]{7}\0|\0{8}){2}\0{167}",
    re.DOTALL,
)
"""Name, mode, owner and group, size, time, checksum, type, no link, POSIX or GNU, names, devices, no prefix."""

_TIME_RECORD = re.compile(rb"([0-9]{1,3}) mtime=[0-9]{1,20}(?:\.[0-9]{1,20})?\n")


def plain_sample(data: Buffer, start: int, offset: int, span_bytes: int) -> Sample | None:
    """The one sample of plain members that takes `span_bytes` at `offset` of a shard, in bytes that begin at `start`.

    None if it is not that: whoever reads every tar is to look at it.
    """
    members: dict[str, Member] = {}
    sample_key = None
    at, end = offset - start, offset - start + span_bytes
    if end > len(data):
        return None
    while at < end:
        plain = plain_header(bytes(data[at : min(end, at + PLAIN_HEADER_BYTES)]))
        if plain is None:
            return None
        name = split_name(plain.name)
        body, size = at + plain.header_bytes, plain.size
        at = body + size + -size % _BLOCK
        if name is None or at > end:
            return None
        key, extension = name
        if sample_key not in (None, key) or extension in members or _RESERVED.fullmatch(extension):
            return None
        sample_key = key
        members[extension] = Member(extension, start + body, size, memoryview(data)[body : body + size])
    return None if sample_key is None else Sample(sample_key, offset, span_bytes, members)


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
    """Whether a PAX header's records are one time of change, which says nothing of the member's name or size."""
    found = _TIME_RECORD.fullmatch(body)
    return found is not None and int(found[1]) == size == len(body)


def member_headers(members: Sequence[tuple[str, int]]) -> list[Buffer]:
    """The headers of members (name, size) without dates or owners, each as `tarfile.TarInfo` makes it in PAX format.

    They are made all at once: one after the other they take three times as long.
    """
    plain = [name.isascii() and len(name) <= tarfile.LENGTH_NAME and size < 8**11 for name, size in members]
    fields = [member if ok else ("", 0) for member, ok in zip(members, plain, strict=True)]
    names = np.array([name.encode() for name, _ in fields], f"S{tarfile.LENGTH_NAME}").view(np.uint8)
    blocks = np.tile(_EMPTY, (len(members), 1))
    blocks[:, _NAME] = names.reshape(-1, tarfile.LENGTH_NAME)
    blocks[:, _SIZE] = _octal(np.array([size for _, size in fields], np.int64), 11)
    sums = blocks[:, _NAME].sum(axis=1, dtype=np.int64) + blocks[:, _SIZE].sum(axis=1, dtype=np.int64)
    blocks[:, _CHECKSUM_DIGITS] = _octal(sums + _SUM_OF_THE_REST, 6)
    return [
        block.data if ok else _header_by_tarfile(*member)
        for block, member, ok in zip(blocks, members, plain, strict=True)
    ]


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
