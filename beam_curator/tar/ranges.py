"""Planning: a shard is cut into ranges at sample boundaries, without reading its members.

A plain tar is hopped through from header to header, so that a header inside a member (a tar in a tar) is never taken
for one of the shard's own. A compressed one has to be decompressed once for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import BinaryIO

from beam_curator import files
from beam_curator.samples import Shard, ShardRange
from beam_curator.tar.compression import DamagedStreamError, decompressed, detect_compression
from beam_curator.tar.index import TarBroken, group_samples, iter_headers

SMALL_SHARD_RATIO = 1.25
"""A plain shard up to this many times the range size stays whole: opening it twice would cost more than it gives."""


def plan_ranges(shard: Shard, range_bytes: int) -> Iterator[ShardRange]:
    """The ranges of a shard, in order: together they cover it, each about `range_bytes` long, each beginning where a
    sample begins. A broken shard's last range holds the break, so that whoever reads it reports it.

    Raises:
      StorageError: when the shard cannot be read, after retries.
    """
    compression, cuts, end = _layout(shard, range_bytes)
    starts = [0, *cuts]
    for ordinal, (start, stop) in enumerate(zip(starts, [*cuts, end], strict=True)):
        yield ShardRange(shard, start, stop, ordinal, last=ordinal == len(cuts), compression=compression)


@files.retried
def _layout(shard: Shard, range_bytes: int) -> tuple[str, list[int], int]:
    """A shard's compression, where it is cut, and where its tar ends."""
    with files.open_for_reading(shard.url, shard.size_bytes) as file:
        compression = detect_compression(file)
        if not compression and shard.size_bytes <= SMALL_SHARD_RATIO * range_bytes:
            return compression, [], shard.size_bytes
        with decompressed(file, compression) as tar:
            cuts = list(cut_points(tar, range_bytes))
            return compression, cuts, _uncompressed_size(tar) if compression else shard.size_bytes


def cut_points(tar: BinaryIO, range_bytes: int) -> Iterator[int]:
    """The offsets where a new range begins: the first sample at or after `range_bytes` from the last cut."""
    start = 0
    try:
        for sample in group_samples(iter_headers(tar)):
            if sample.offset - start >= range_bytes:
                start = sample.offset
                yield start
    except TarBroken:
        return  # what is broken is for the reader to report, from the last range


def _uncompressed_size(tar: BinaryIO) -> int:
    """Where a compressed stream ends, or as far as it can be read, going on from where the planning stopped."""
    with contextlib.suppress(DamagedStreamError):
        while tar.read(1 << 16):
            pass
    return tar.tell()
