"""Shards of any format: cut into ranges, read by range, and read again sample by sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from beam_curator.errors import JobError
from beam_curator.reading import DEFAULT_READING, Reading
from beam_curator.samples import Shard, ShardError, ShardRange
from beam_curator.sources.choosing import source_of
from beam_curator.sources.records import Record, gathered, sample_of
from beam_curator.sources.source import Rows, UnreadableShard
from beam_curator.sources.tar import planning
from beam_curator.sources.tar import reading as tar_reading
from beam_curator.sources.tar.planning import Plans
from beam_curator.sources.tar.reading import READ_BYTES, RangeContent
from beam_curator.storage.retrying import retried


def plan_ranges(
    shard: Shard, range_bytes: int, plans: Plans | None = None, reading: Reading = DEFAULT_READING
) -> Iterator[ShardRange]:
    """The ranges of a shard, in order; `tar.planning.plan_ranges` says what the arguments are.

    A shard that its source cannot read is one range without rows, so that whoever reads it reports it.

    Raises:
      StorageError: when the shard cannot be read, after retries.
    """
    if not shard.format:
        yield from planning.plan_ranges(shard, range_bytes, plans, reading)
        return
    runs = _runs(shard, range_bytes, reading) or [Rows(0, 0, 0)]
    for ordinal, (start, end, size_bytes) in enumerate(runs):
        last = ordinal == len(runs) - 1
        yield ShardRange(shard, start, end, ordinal, last, reading=reading, rows_bytes=size_bytes)


@retried
def _runs(shard: Shard, range_bytes: int, reading: Reading) -> Sequence[Rows]:
    try:
        return source_of(shard.format, reading).plan(shard, range_bytes)
    except UnreadableShard:
        return []


def read_range(range: ShardRange) -> RangeContent:
    """Reads all samples of a range with their bytes, as `tar.reading.read_range` does.

    Raises:
      StorageError: when the shard cannot be read, after retries.
    """
    if not range.shard.format:
        return tar_reading.read_range(range)
    # Where each row is a file of its own, each is tried again by itself.
    return _read_rows(range) if range.shard.listing else retried(_read_rows)(range)


def _read_rows(range: ShardRange) -> RangeContent:
    try:
        if not range.rows:
            source_of(range.shard.format, range.reading).plan(range.shard, 1 << 62)
        records = list(read_records(range, range.rows))
    except UnreadableShard as error:
        return RangeContent([], [ShardError(range.url, 0, str(error))], {}, [])
    if len(records) != len(range.rows):
        raise JobError(f"{range.url}: its source gave {len(records):,} records for {len(range.rows):,} rows")
    samples = [sample_of(record, row) for row, record in zip(range.rows, records, strict=True)]
    return RangeContent(samples, [], Counter(kind for record in records for kind in record.passed_over), [])


def read_records(range: ShardRange, rows: Sequence[int]) -> Iterator[Record]:
    """Reads these rows of a range's shard, which ascend.

    Raises:
      UnreadableShard: when the shard cannot be understood any more.
      StorageError: when it cannot be read.
    """
    return source_of(range.shard.format, range.reading).read(range.shard, rows)


def read_records_laid(
    range: ShardRange, rows: Sequence[int], spans: Sequence[tuple[int, int]]
) -> Iterator[tuple[Sequence[tuple[int, int]], bytes]]:
    """Reads rows as `tar.span_reading.read_spans_at` reads spans; they are laid one after the other as `spans` say."""
    return gathered(read_records(range, rows), spans, READ_BYTES)
