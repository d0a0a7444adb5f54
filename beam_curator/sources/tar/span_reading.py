"""Reads what stands at known places of a shard again, in few large reads: what copying and verifying need."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

from beam_curator.samples import Sample, ShardRange
from beam_curator.sources.tar.compression import open_tar
from beam_curator.sources.tar.extents import Extent, joined
from beam_curator.sources.tar.grouping import group_samples
from beam_curator.sources.tar.headers import TarBroken, iter_headers
from beam_curator.sources.tar.indexing import shifted
from beam_curator.sources.tar.reading import (
    COALESCED_GAP_BYTES,
    LAID_BYTES,
    READ_BYTES,
    bytes_at,
    read_extents,
    with_data,
)
from beam_curator.sources.tar.windows import window
from beam_curator.storage import files, urls
from beam_curator.storage.read_ahead import prefetched

REQUESTED_GAP_BYTES = 512 << 10
"""The gap over which neighbours in a bucket are read together, where a request has a price: of images of 100 KB of
which 30 % are kept at random it is a third of the requests, and 1.5 times the bytes."""

REQUESTS_AT_ONCE = 8
"""So many reads of a bucket are under way."""

CHANGED = "the shard has changed since it was scored"


def read_samples_at(range: ShardRange, spans: Sequence[tuple[int, int]]) -> Iterator[Sample]:
    """Reads the samples at these (offset, span in bytes), which must be in order, with their bytes.

    Raises:
      StorageError: when the shard cannot be read.
      TarBroken: when there is no longer a sample at such a place.
    """
    for group, data in read_spans_at(range, spans):
        for span in group:
            yield _sample_in(data, group[0][0], *span)


def read_spans_at(
    range: ShardRange, spans: Sequence[tuple[int, int]]
) -> Iterator[tuple[Sequence[tuple[int, int]], bytes]]:
    """Reads what stands at these (offset, bytes) of a range's shard, which must be in order.

    Neighbours are fetched in one read: about the bytes of the spans are read, in few large pieces. Where that takes
    waiting, each is read while those of the one before are being used.

    Yields:
      The spans that one read gave, and its bytes, from where the first of these spans begins; less than their length
      where the shard has become shorter.

    Raises:
      StorageError: when the shard cannot be read.
    """
    by_request = files.reads_by_request(range.shard.path) and not range.compression
    groups = list(coalesced(spans, READ_BYTES, REQUESTED_GAP_BYTES if by_request else COALESCED_GAP_BYTES))
    with open_tar(range.shard, range.compression, read_ahead=False) as tar:

        def read(group: Sequence[tuple[int, int]]) -> bytes:
            start = group[0][0]
            length = group[-1][0] + group[-1][1] - start
            if not by_request:
                return bytes_at(tar, range, start, length)
            with open_tar(range.shard, range.compression, read_ahead=False) as own:  # a position of its own
                return bytes_at(own, range, start, length)

        reads = prefetched(read, groups, _reads_at_once(range, by_request))
        for group in groups:
            yield group, next(reads)


def read_laid(
    range: ShardRange, spans: Sequence[Extent], extents: Sequence[Sequence[Extent]]
) -> Iterator[tuple[Sequence[Extent], bytes]]:
    """Reads samples that stand in several pieces of the shard; gives what `read_spans_at` gives.

    The pieces of as many samples as fill a read are read in the order of the shard: in a compressed one, each read
    begins at its beginning.

    Args:
      range: where they are from.
      spans: (offset, bytes) of each, one after the other as `extents.laid_samples` lays them.
      extents: the pieces of each.
    """
    read_bytes = LAID_BYTES if range.compression else READ_BYTES
    with open_tar(range.shard, range.compression, read_ahead=False) as tar:
        first = 0
        for group in coalesced(spans, read_bytes, COALESCED_GAP_BYTES):
            its = extents[first : first + len(group)]
            first += len(group)
            data = joined(read_extents(tar, range, [extent for one in its for extent in one]), its)
            if data is None:
                raise TarBroken(its[0][0][0], f"{CHANGED}: it has become shorter")
            yield group, data


def _reads_at_once(range: ShardRange, by_request: bool) -> int:
    """Says how many reads go on in the background: none of a plain local file, where the system itself reads ahead."""
    if by_request:
        return REQUESTS_AT_ONCE
    return 1 if range.compression or urls.is_remote(range.shard.path) else 0


def _sample_in(data: bytes, start: int, offset: int, span_bytes: int) -> Sample:
    """Reads the one sample that stands at `offset` of the shard, in bytes that begin at `start`."""
    found = window(io.BytesIO(data), offset - start, offset - start + span_bytes)
    try:
        sample = next(group_samples(iter_headers(found)), None)
    except TarBroken as broken:
        raise TarBroken(offset + broken.offset, f"{CHANGED}: {broken.reason}") from broken
    if sample is None or sample.span_bytes != span_bytes:
        raise TarBroken(offset, f"{CHANGED}: another sample stands here")
    placed = shifted(sample, offset, len(data) - (offset - start))
    if placed.failure:
        raise TarBroken(offset, f"{CHANGED}: {placed.failure}")
    return with_data(placed, memoryview(data), start)


def coalesced(spans: Sequence[tuple[int, int]], read_bytes: int, gap_bytes: int) -> Iterator[list[tuple[int, int]]]:
    """Groups spans into reads: neighbours at most `gap_bytes` apart go together, up to `read_bytes` a read."""
    group: list[tuple[int, int]] = []
    for offset, size in spans:
        if group:
            begin, end = group[0][0], group[-1][0] + group[-1][1]
            if offset - end > gap_bytes or offset + size - begin > read_bytes:
                yield group
                group = []
        group.append((offset, size))
    if group:
        yield group
