"""Planning: a shard is cut into ranges at sample boundaries, without reading its members.

A plain tar is hopped through from header to header, so that a header inside a member (a tar in a tar) is never taken
for one of the shard's own. A compressed one has to be decompressed once for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple, Protocol

from beam_curator.reading import DEFAULT_READING, Reading
from beam_curator.samples import Shard, ShardRange
from beam_curator.sources.tar.compression import DamagedStreamError, decompressed, detect_compression
from beam_curator.sources.tar.grouping import group_samples
from beam_curator.sources.tar.headers import TarBroken, iter_headers
from beam_curator.sources.tar.links import HardLinks
from beam_curator.storage import files
from beam_curator.storage.retrying import retried


def range_bytes_of(range_mb: float) -> int:
    """Converts the size of a range from MiB to bytes."""
    return max(1, int(range_mb * (1 << 20)))


SMALL_SHARD_RATIO = 1.25
"""A plain shard up to this many times the range size stays whole: opening it twice would cost more than it gives."""


class ShardPlan(NamedTuple):
    """The cuts between the ranges of a shard.

    Attributes:
      compression: as `ShardRange.compression`.
      cuts: offsets in the uncompressed tar at which its second and later ranges begin, ascending.
      end: offset at which its tar ends.
      keys_return: whether a key comes again after another key; False as well for shards that were not read for this.
    """

    compression: str
    cuts: Sequence[int]
    end: int
    keys_return: bool = False


class Plans(Protocol):
    """A store of plans, from one run to the next: the output directory's is `output.plans.KeptPlans`."""

    def recall(self, shard: Shard, range_bytes: int, by_key: bool = False) -> ShardPlan | None:
        """The plan of a shard in its present state; None if it is not known.

        Args:
          shard: the shard.
          range_bytes: about how large ranges are to be.
          by_key: whether members are grouped by key (`Reading.group_by_key`).
        """

    def keep(self, shard: Shard, range_bytes: int, plan: ShardPlan, by_key: bool = False) -> None:
        """Stores a plan; the arguments are those of `recall`."""


def plan_ranges(
    shard: Shard, range_bytes: int, plans: Plans | None = None, reading: Reading = DEFAULT_READING
) -> Iterator[ShardRange]:
    """The ranges of a shard, in order: together they cover it, each about `range_bytes` long, each beginning where a
    sample begins. A broken shard's last range holds the break, so that whoever reads it reports it.

    Args:
      shard: the shard to cut.
      range_bytes: about how large a range is to be.
      plans: a store of plans, which saves reading the shard; None for none.
      reading: how the ranges are to be read.

    Raises:
      StorageError: when the shard cannot be read, after retries.
    """
    plan = shard_plan(shard, range_bytes, plans, reading.group_by_key)
    starts, ends = [0, *plan.cuts], [*plan.cuts, plan.end]
    for ordinal, (start, end) in enumerate(zip(starts, ends, strict=True)):
        last = ordinal == len(plan.cuts)
        yield ShardRange(shard, start, end, ordinal, last, plan.compression, reading, plan.keys_return)


@retried
def shard_plan(shard: Shard, range_bytes: int, plans: Plans | None = None, by_key: bool = False) -> ShardPlan:
    """The plan by which `plan_ranges` cuts a shard; its arguments are those of `plan_ranges`."""
    with files.open_for_reading(shard.path, shard.size_bytes) as file:
        compression = detect_compression(file)
        if not compression and shard.size_bytes <= SMALL_SHARD_RATIO * range_bytes:
            return ShardPlan(compression, [], shard.size_bytes)
        known = plans.recall(shard, range_bytes, by_key) if plans else None
        if known is not None:
            return known
        with decompressed(file, compression) as tar:
            cuts, keys_return = cut_points(tar, range_bytes, by_key)
            end = _uncompressed_size(tar) if compression else shard.size_bytes
            plan = ShardPlan(compression, cuts, end, keys_return and bool(cuts))
    if plans and (plan.cuts or compression):
        plans.keep(shard, range_bytes, plan, by_key)
    return plan


def cut_points(tar: BinaryIO, range_bytes: int, by_key: bool = False) -> tuple[list[int], bool]:
    """The offsets where a new range begins: the first sample after samples that take `range_bytes`, with what is
    between them; and whether a key comes back after another one.
    """
    cuts: list[int] = []
    keys: set[str] = set()
    start, taken, keys_return = 0, 0, False
    try:
        for sample in group_samples(iter_headers(tar), HardLinks(tar), by_key):
            if (taken if by_key else sample.offset - start) >= range_bytes:
                start, taken = sample.offset, 0
                cuts.append(start)
            taken += sample.span_bytes
            keys_return = keys_return or sample.key in keys
            keys.add(sample.key)
    except TarBroken:
        pass  # what is broken is for the reader to report, from the last range
    return cuts, keys_return


def _uncompressed_size(tar: BinaryIO) -> int:
    """Reads a compressed stream to its end, or as far as it can be read, from where planning stopped; returns the
    offset."""
    with contextlib.suppress(DamagedStreamError):
        while tar.read(1 << 16):
            pass
    return tar.tell()
