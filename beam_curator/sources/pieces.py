"""A large range in pieces: batches of some of its samples, so that what a worker holds does not grow with the range.

What is told of the range as a whole (keys that come again, fields of metadata, where it is broken) comes with the last
piece. `joined_pieces` makes of all of them the one batch that a range read at once would be.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from beam_curator.errors import JobError
from beam_curator.samples import Finding, Sample, SampleBatch, ShardError, ShardRange
from beam_curator.sources.fields import fields_of_records, record_of, slim
from beam_curator.sources.ranges import read_records
from beam_curator.sources.records import sample_of
from beam_curator.sources.sample_batches import read_batch, rows_of
from beam_curator.sources.sample_images import dotted_names
from beam_curator.sources.source import UnreadableShard
from beam_curator.sources.tar.streaming import RangeStream, without_bytes
from beam_curator.storage.retrying import retried

PIECES_ABOVE_BYTES = 80 << 20
"""A larger range is worked on in pieces: than a shard that the usual `--range_mb` leaves whole."""

PIECE_BYTES = 64 << 20
"""So much of a range is one piece, or one sample that is larger: as much as a range usually has."""


class WholeRange(NamedTuple):
    """The facts of a whole range, which its last piece carries.

    Attributes:
      same_key: for each key of this range that several samples of the shard have, how many have it.
      fields: a column of each field that is carried, with a row for each sample of the range.
      is_void: whether the shard could not be understood to its end, so that it has no samples at all.
    """

    same_key: Mapping[str, int]
    fields: pa.Table
    is_void: bool = False


@dataclasses.dataclass(frozen=True)
class PieceOfRange(SampleBatch):
    """A batch of consecutive samples of a range that is too large to be in memory at once.

    Attributes:
      index: index of the piece in its range, from 0.
      whole: what is known of the whole range, in its last piece; None in the others.
    """

    index: int = 0
    whole: WholeRange | None = None


def is_in_pieces(range: ShardRange) -> bool:
    """Tells whether a range is large enough to be worked on in pieces, or may be: of urls, and of files beside images,
    nobody knows how large they are."""
    return range.size_bytes > PIECES_ABOVE_BYTES or bool(range.shard.listing)


def read_batches(range: ShardRange) -> Iterator[SampleBatch]:
    """The samples of a range with their bytes: one batch, or of a large range its pieces, as they are read.

    Raises:
      StorageError: when the shard cannot be read, after retries.
    """
    if not is_in_pieces(range):
        yield read_batch(range)
        return
    reading = _Records(range) if range.shard.format else _Tar(range)
    records: list[Mapping[str, Any] | None] = []
    seen: list[Sample] = []
    some: list[Sample] = []
    index = taken = 0
    for sample in reading.samples():
        size_bytes = 0 if all(member.data is None for member in sample.members.values()) else sample.span_bytes
        if some and taken + size_bytes > PIECE_BYTES:
            yield PieceOfRange(range, rows_of(range, some), _emptied(some), index=index)
            index, taken = index + 1, 0
        if range.reading.carry:
            records.append(slim(record_of(sample)))
        seen.append(without_bytes(sample))
        some.append(sample)
        taken += size_bytes
        del sample
    ending = reading.ending
    if ending.is_void:
        seen, records, some = [], [], []
    fields, found = fields_of_records(range, seen, records)
    yield PieceOfRange(
        range,
        rows_of(range, some),
        _emptied(some),
        errors=tuple(ending.errors),
        passed_over=ending.passed_over,
        findings=(*ending.findings, *dotted_names(range, seen)),
        fields=found if range.reading.carry else None,
        index=index,
        whole=WholeRange(ending.same_key, fields, ending.is_void),
    )


def _emptied(samples: list[Sample]) -> list[Sample]:
    """The samples in a list of their own: this one holds their bytes no more."""
    found = samples[:]
    samples.clear()
    return found


class _Ending(NamedTuple):
    errors: Sequence[ShardError] = ()
    passed_over: Mapping[str, int] = {}
    findings: Sequence[Finding] = ()
    same_key: Mapping[str, int] = {}
    is_void: bool = False


class _Tar:
    """The samples of a range of a tar, and then what is told of it."""

    def __init__(self, range: ShardRange) -> None:
        self._stream = RangeStream(range)
        self.samples = self._stream.samples

    @property
    def ending(self) -> _Ending:
        return _Ending(*self._stream.ending)


class _Records:
    """The same of a run of rows."""

    def __init__(self, range: ShardRange) -> None:
        self._range = range
        self._records: Iterator[Any] | None = None
        self._next = range.start
        self.ending = _Ending()

    def samples(self) -> Iterator[Sample]:
        passed_over: Counter[str] = Counter()
        # Where each row is a file of its own, each is tried again by itself.
        following = self._following if self._range.shard.listing else retried(self._following)
        try:
            while self._next < self._range.end:
                record = following()
                passed_over.update(record.passed_over)
                sample = sample_of(record, self._next)
                self._next += 1
                del record
                yield sample
                del sample
            following(at_end=True)
        except UnreadableShard as error:
            self.ending = _Ending(errors=[ShardError(self._range.url, 0, str(error))], is_void=True)
            return
        self.ending = _Ending(passed_over=passed_over)

    def _following(self, at_end: bool = False) -> Any:
        """The next record; where reading failed, it begins anew behind those that there are."""
        range = self._range
        if self._records is None:
            self._records = iter(read_records(range, range.rows[self._next - range.start :]))
        try:
            record = next(self._records, None)
        except BaseException:
            self._records = None
            raise
        if (record is None) != at_end:
            told = "more" if at_end else f"{self._next - range.start:,}"
            raise JobError(f"{range.url}: its source gave {told} records for {len(range.rows):,} rows")
        return record
