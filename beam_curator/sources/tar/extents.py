"""Samples whose members stand apart in a shard: the pieces of the tar that they take, laid one after the other.

Laid so, such a sample is like any other: headers, data and padding in one run of bytes, its members in their order.
"""

from __future__ import annotations

import bisect
import dataclasses
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import pyarrow as pa

from beam_curator.samples import Sample, readable

EXTENTS = "extents"
EXTENT_TYPE = pa.struct([("offset", pa.int64()), ("size", pa.int64())])
Extent = tuple[int, int]
"""Offset and size of a piece of the uncompressed tar."""


def extents_of(sample: Sample) -> Sequence[Extent]:
    """The pieces that a sample takes: as a rule one."""
    return sample.extents or ((sample.offset, sample.span_bytes),)


def extents_column(samples: Sequence[Sample]) -> pa.Array:
    """The column of a score part: the extents of each sample that has several, else null."""
    pieces = [[{"offset": o, "size": s} for o, s in one.extents] if one.extents else None for one in samples]
    return pa.array(pieces, pa.list_(EXTENT_TYPE))


def extents_from(column: pa.ChunkedArray) -> list[list[Extent]]:
    """Reads back what `extents_column` was made of; [] where it has null."""
    return [[(piece["offset"], piece["size"]) for piece in pieces or ()] for pieces in column.to_pylist()]


def laid(extents: Sequence[Extent], members: Iterable[tuple[int, int]]) -> list[int]:
    """Finds where each member's data begins when the extents stand one after the other, from 0.

    Args:
      extents: the pieces, in the order of the members.
      members: (offset, size) of each member's data in the tar, in order.

    Raises:
      ValueError: when a member is in none of them.
    """
    places: list[int] = []
    which, before, at = 0, 0, extents[0][0]
    for offset, size in members:
        while not at <= offset <= offset + size <= sum(extents[which]):
            before += extents[which][1]
            which += 1
            if which == len(extents):
                raise ValueError("a member is in no piece of its sample")
            at = extents[which][0]
        places.append(before + offset - extents[which][0])
        at = offset + size
    return places


class Pieces:
    """Bytes of a tar by their place: what `read_pieces` read."""

    def __init__(self) -> None:
        self._begins: list[int] = []
        self._data: list[memoryview] = []

    def add(self, begin: int, data: bytes) -> None:
        """Adds what stands at a place after all that were added before."""
        self._begins.append(begin)
        self._data.append(memoryview(data))

    def at(self, extent: Extent) -> memoryview:
        """The bytes of an extent that was read; less where the tar ended before."""
        which = bisect.bisect_right(self._begins, extent[0]) - 1
        begin = extent[0] - self._begins[which]
        return self._data[which][begin : begin + extent[1]]


def read_pieces(
    read: Callable[[int, int], bytes], extents: Iterable[Extent], gap_bytes: int, read_bytes: int
) -> Pieces:
    """Reads extents in the order of the tar, each byte once, neighbours together.

    Args:
      read: gives the bytes at (offset, length), or as many as there are.
      extents: in any order; they may overlap.
      gap_bytes: extents less than this apart are read together.
      read_bytes: so much is read at once, unless extents that overlap take more.
    """
    pieces = Pieces()
    for begin, end in _merged(extents, gap_bytes, read_bytes):
        pieces.add(begin, read(begin, end - begin))
    return pieces


def _merged(extents: Iterable[Extent], gap_bytes: int, read_bytes: int) -> Iterator[tuple[int, int]]:
    """Disjoint (begin, end) that cover the extents, in order."""
    begin = end = -1
    for offset, size in sorted(set(extents)):
        near = end >= 0 and offset - end <= gap_bytes and max(end, offset + size) - begin <= read_bytes
        if end < 0 or not (near or offset < end):
            if end >= 0:
                yield begin, end
            begin, end = offset, offset + size
        else:
            end = max(end, offset + size)
    if end >= 0:
        yield begin, end


def with_pieces(sample: Sample, pieces: Pieces) -> Sample:
    """The sample with its members' bytes, as views of the pieces; failed if the tar ends inside of one.

    Also its `headers_crc32`, of its extents laid one after the other.
    """
    if sample.failure:
        return sample
    extents, found = extents_of(sample), sample.members.values()
    views = [pieces.at(extent) for extent in extents]
    places = laid(extents, [(member.offset, member.size) for member in found])
    members = {
        member.extension: dataclasses.replace(member, data=_in_views(views, extents, place, member.size))
        for member, place in zip(found, places, strict=True)
    }
    cut = [member.extension for member in members.values() if member.data is None]
    failure = f'truncated shard: member "{readable(cut[0])}" is cut' if cut else None
    sizes = [member.size for member in found]
    crc = None if cut else _headers_crc32(views, list(zip(places, sizes, strict=True)))
    return dataclasses.replace(sample, members=members, headers_crc32=crc, failure=failure)


def _in_views(views: Sequence[memoryview], extents: Sequence[Extent], place: int, size: int) -> memoryview | None:
    before = 0
    for view, (_, length) in zip(views, extents, strict=True):
        if place + size <= before + length and place >= before:
            data = view[place - before : place - before + size]
            return data if len(data) == size else None
        before += length
    return None


def _headers_crc32(views: Sequence[memoryview], members: Sequence[tuple[int, int]]) -> int:
    """Computes what `member_table.headers_crc32` does, for extents laid one after the other."""
    crc, before, waiting = 0, 0, list(reversed(members))
    for view in views:
        at = 0
        while waiting and waiting[-1][0] - before + waiting[-1][1] <= len(view):
            begin, size = waiting.pop()
            crc = zlib.crc32(view[at : begin - before], crc)
            at = begin - before + size
        crc = zlib.crc32(view[at:], crc)
        before += len(view)
    return crc


def laid_samples(
    extents: Sequence[Sequence[Extent]], members: Sequence[Sequence[tuple[int, int]]]
) -> tuple[list[Extent], list[list[int]]]:
    """Samples laid one after the other, from 0: (place, bytes) of each, and where each member's data begins."""
    spans: list[Extent] = []
    places: list[list[int]] = []
    at = 0
    for pieces, its in zip(extents, members, strict=True):
        spans.append((at, sum(size for _, size in pieces)))
        places.append([at + place for place in laid(pieces, its)] if its else [])
        at += spans[-1][1]
    return spans, places


def joined(pieces: Pieces, extents: Sequence[Sequence[Extent]]) -> bytes | None:
    """The bytes of samples, laid one after the other; None if the tar has become too short for them."""
    data = b"".join(pieces.at(extent) for its in extents for extent in its)
    return data if len(data) == sum(size for its in extents for _, size in its) else None
