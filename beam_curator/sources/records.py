"""Samples that no tar holds: what a source reads of one row or file, and the run of bytes that stands for it.

A record's run of bytes is a line that names its key and its members, with the length and CRC-32 of each, and after it
the members' data:

    ["train/00000017",[["jpg",48210,3735928559],["txt",11,907060870]]]\\n | data of the jpg | data of the txt

It is made anew whenever the record is read. So copying and verifying treat a row of a Parquet file as they treat a
sample of a tar: what stands between the members' data, here that line, has to be what it was when it was scored. As it
has the CRC-32 of the data, a changed image is found out, whatever its size.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from beam_curator.samples import Buffer, Member, Sample


@dataclasses.dataclass(frozen=True)
class Record:
    """A sample as a source reads it from one row or file.

    Attributes:
      key: name of the sample, unique in its shard, without a dot after the last "/".
      members: the data of its members by their extensions ("jpg", "txt", "json"), the image first.
      failure: why the sample cannot be used; None if it can.
      passed_over: kinds of what the row holds and the sample does not, such as columns of other types; the manifest
        counts them.
    """

    key: str
    members: Mapping[str, Buffer] = dataclasses.field(default_factory=dict)
    failure: str | None = None
    passed_over: Sequence[str] = ()


def _line(record: Record) -> bytes:
    members = [[name, len(data), zlib.crc32(data)] for name, data in record.members.items()]
    return _ENCODER.encode([record.key, members]).encode("ascii") + b"\n"


_ENCODER = json.JSONEncoder(separators=(",", ":"))


def sample_of(record: Record, row: int) -> Sample:
    """The sample that a record is; its members' offsets count from the beginning of the record's run of bytes.

    Args:
      record: what was read.
      row: which row of its shard it is, from 0: the sample's offset.
    """
    line = _line(record)
    members, at = {}, len(line)
    for extension, data in record.members.items():
        members[extension] = Member(extension, at, len(data), memoryview(data).cast("B"))
        at += len(data)
    return Sample(record.key, row, at, members, record.failure, zlib.crc32(line))


def bytes_of(record: Record) -> bytes:
    """The record's run of bytes."""
    return b"".join([_line(record), *record.members.values()])


def laid(sizes: Iterable[int]) -> list[tuple[int, int]]:
    """Records of these lengths laid one after the other, from 0: (place, length) of each."""
    places, at = [], 0
    for size in sizes:
        places.append((at, size))
        at += size
    return places


def gathered(
    records: Iterator[Record], spans: Sequence[tuple[int, int]], read_bytes: int
) -> Iterator[tuple[Sequence[tuple[int, int]], bytes]]:
    """The bytes of n records, of as many at a time as make `read_bytes`.

    Args:
      records: what is read now; where it is another than was scored, or is gone, its line has another CRC-32.
      spans: n times (place, length), as `laid` gives them.
      read_bytes: so much is gathered, or one record that is larger.

    Yields:
      Some spans, and their bytes.
    """
    group: list[tuple[int, int]] = []
    pieces: list[bytes] = []
    taken = 0
    for span, record in zip(spans, itertools.chain(records, itertools.repeat(None)), strict=False):
        size = span[1]
        found = b"" if record is None else bytes_of(record)
        group.append(span)
        pieces.append(found if len(found) == size else found[:size].ljust(size, b"\0"))
        taken += size
        if taken >= read_bytes:
            yield group, b"".join(pieces)
            group, pieces, taken = [], [], 0
    if group:
        yield group, b"".join(pieces)
