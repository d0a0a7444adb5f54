"""Finds the samples of a range by the headers of their members, and where the tar breaks."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import BinaryIO, NamedTuple

from beam_curator.samples import (
    Member,
    Sample,
    ShardError,
    ShardRange,
    readable,
)
from beam_curator.sources.tar.compression import DamagedStreamError
from beam_curator.sources.tar.grouping import group_samples
from beam_curator.sources.tar.headers import Header, TarBroken, check_end, iter_headers
from beam_curator.sources.tar.links import HardLinks
from beam_curator.sources.tar.trailer import is_padding


class Indexed(NamedTuple):
    """The content of a range as far as headers tell it, or as far as it is read.

    Attributes:
      samples, errors, passed_over: as those of `reading.RangeContent`.
    """

    samples: list[Sample]
    errors: list[ShardError]
    passed_over: Mapping[str, int]


def indexed(file: BinaryIO, range: ShardRange, length: int, tar: BinaryIO) -> Indexed:
    """Samples at their offsets in the shard, without bytes, those that the end of the bytes cuts failed, and where the
    tar breaks.

    Args:
      file: the range.
      range: which one.
      length: how many bytes of it there are.
      tar: the whole shard, which hard links may lead to out of the range.
    """
    samples: list[Sample] = []
    errors: list[ShardError] = []
    passed_over = PassedOver()
    ends = Ends()
    links = HardLinks(tar, range.start) if range.start else HardLinks(file)
    try:
        for sample in group_samples(ends.seen(iter_headers(file)), links, on_passed_over=passed_over):
            samples.append(shifted(sample, range.start, length))
        if range.last:
            check_end(file, ends.last)
            check_rest(file, ends.last, tar, range.start)
    except TarBroken as broken:
        errors.append(ShardError(range.url, range.start + min(broken.offset, length), broken.reason))
    return Indexed(samples, errors, passed_over.count)


def indexed_by_key(tar: BinaryIO, range: ShardRange) -> Indexed:
    """The samples of a range whose other members may stand anywhere in the shard, all of whose headers are read."""
    samples: list[Sample] = []
    errors: list[ShardError] = []
    passed_over = PassedOver(range.start, range.end)
    ends = Ends()
    try:
        for sample in group_samples(ends.seen(iter_headers(tar)), HardLinks(tar), True, passed_over):
            if range.start <= sample.offset < range.end:
                samples.append(sample)
        if range.last:
            check_end(tar, ends.last)
            check_rest(tar, ends.last, tar, 0)
    except TarBroken as broken:
        if range.last:
            errors.append(ShardError(range.url, broken.offset, broken.reason))
    return Indexed(samples, errors, passed_over.count)


class PassedOver:
    """Counts by kind what is passed over between two offsets.

    Attributes:
      count: how many of each kind.
    """

    def __init__(self, start: int = 0, end: int = sys.maxsize) -> None:
        self._start, self._end = start, end
        self.count: Counter[str] = Counter()

    def __call__(self, header: Header, kind: str) -> None:
        self.count[kind] += self._start <= header.offset < self._end


class Ends:
    """Notes where the last header's entry ends.

    Attributes:
      last: the offset behind it, 0 before the first header.
    """

    def __init__(self) -> None:
        self.last = 0

    def seen(self, headers: Iterator[Header]) -> Iterator[Header]:
        """The same headers."""
        for header in headers:
            self.last = header.next_offset
            yield header


def check_rest(file: BinaryIO, end: int, tar: BinaryIO, start: int) -> None:
    """Raises TarBroken if anything but padding follows the end-of-archive block at `end` of a range that begins at
    `start` of the tar: a hole in the shard, or one archive after another. No reader of tars goes on there, so what
    follows would be lost without a word."""
    file.seek(end)
    with contextlib.suppress(DamagedStreamError):  # which `damage_in` tells
        while piece := file.read(1 << 20):
            if piece != bytes(len(piece)):
                if is_padding(tar, start + end):
                    return
                raise TarBroken(end, "data after the end-of-archive block, which tar does not read")


def shifted(sample: Sample, start: int, length: int) -> Sample:
    """A sample indexed in a buffer that begins at `start`, at its place in the shard; failed if the buffer cuts it."""
    cut = [m.extension for m in sample.members.values() if m.offset + m.size > length]
    failure = f'truncated shard: member "{readable(cut[0])}" is cut' if cut else None
    members = {m.extension: Member(m.extension, start + m.offset, m.size) for m in sample.members.values()}
    extents = tuple((start + offset, size) for offset, size in sample.extents)
    return dataclasses.replace(
        sample, offset=start + sample.offset, members=members, failure=sample.failure or failure, extents=extents
    )
