"""Finds where each range's kept samples begin, without anybody who holds all ranges: prefix sums in two levels.

Ranges are ordered by (shard url, start). Some of their keys, chosen by hash, cut that order into groups. Within a group
counts are summed up by whoever has the group; over groups only the totals are. How ranges are grouped decides who adds
what, never a place.
"""

from __future__ import annotations

import bisect
import dataclasses
import hashlib
import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from beam_curator.errors import JobError

RangeKey = tuple[str, int]
"""The key by which ranges are ordered: (shard url, start)."""

KeptCount = tuple[RangeKey, int]
"""A range with the number of its samples that are kept."""

SAMPLED, APART = 32768, 8
"""So many keys are drawn, and each of so many of these begins a new group: 4,096 groups of much the same size. Where
all keys are drawn, there are as many groups as a group has ranges."""


class Place(NamedTuple):
    """The sums over all ranges that come before a range, in the order of all ranges.

    Attributes:
      kept: how many samples are kept in the ranges before it.
      ranges: how many ranges come before it.
    """

    kept: int
    ranges: int


class KeySample:
    """The keys with the least hashes: the same ones whatever the order in which they come, and at most `size`."""

    def __init__(self, size: int = SAMPLED) -> None:
        self._size = size
        self._drawn: list[tuple[int, RangeKey]] = []  # a heap: the greatest hash, negated, comes first

    def add(self, key: RangeKey) -> None:
        """Draws it, if its hash is among the least."""
        told = hashlib.blake2b(f"{key[0]}\n{key[1]}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self._draw((-int.from_bytes(told, "big"), key))

    def add_all(self, other: KeySample) -> None:
        """Draws from what another one has drawn."""
        for one in other._drawn:
            self._draw(one)

    def _draw(self, one: tuple[int, RangeKey]) -> None:
        if len(self._drawn) < self._size:
            heapq.heappush(self._drawn, one)
        elif one > self._drawn[0]:
            heapq.heapreplace(self._drawn, one)

    def cuts(self, apart: int = APART) -> list[RangeKey]:
        """The keys at which groups begin, but for the first, in order.

        Args:
          apart: how many of the drawn ones are in a group, at least.
        """
        if len(self._drawn) < self._size:
            apart = max(apart, math.isqrt(len(self._drawn)))
        return sorted({key for _, key in self._drawn})[apart::apart]


def group_of(key: RangeKey, cuts: Sequence[RangeKey]) -> int:
    """The group of a range: groups are in the order of their ranges."""
    return bisect.bisect_right(cuts, key)


@dataclasses.dataclass(frozen=True)
class GroupCounts:
    """The ranges of a group and what is before each within the group, 16 bytes a range beside the urls.

    Attributes:
      urls: u shards, ascending.
      bounds: int64 [u + 1], where each shard's ranges begin among the n.
      starts: int64 [n], where ranges begin in their shards.
      before: int64 [n], how many samples are kept before each range within the group.
      kept: how many samples the group keeps.
    """

    urls: Sequence[str]
    bounds: np.ndarray
    starts: np.ndarray
    before: np.ndarray
    kept: int

    @classmethod
    def of(cls, counts: Iterable[KeptCount]) -> GroupCounts:
        """Sums up the counts of kept samples of a group's ranges.

        Raises:
          JobError: for a range that comes twice: what is written of one is written over by the other.
        """
        ordered = sorted(counts)
        twice = next((one for (one, _), (other, _) in itertools.pairwise(ordered) if one == other), None)
        if twice is not None:
            raise JobError(
                f"{twice[0]}: two batches begin at {twice[1]}: each range goes to WriteShards once, as one batch: read "
                "the same input once, and split batches by ExplodeSamples and BatchSamples alone"
            )
        kept = np.array([count for _, count in ordered], np.int64)
        starts = np.array([start for (_, start), _ in ordered], np.int64)
        urls = [url for (url, _), _ in ordered]
        firsts = [index for index, url in enumerate(urls) if index == 0 or url != urls[index - 1]]
        bounds = np.array([*firsts, len(ordered)], np.int64)
        return cls([urls[index] for index in firsts], bounds, starts, np.cumsum(kept) - kept, int(kept.sum()))

    @property
    def total(self) -> Place:
        """The sum of the group's counts."""
        return Place(self.kept, len(self.starts))

    def place(self, key: RangeKey) -> Place:
        """A range's place within the group.

        Raises:
          KeyError: when it is in no such group.
        """
        url, start = key
        shard = bisect.bisect_left(self.urls, url)
        if shard < len(self.urls) and self.urls[shard] == url:
            first, end = self.bounds[shard : shard + 2].tolist()
            index = first + int(np.searchsorted(self.starts[first:end], start, "right")) - 1
            if index >= first and self.starts[index] == start:
                return Place(int(self.before[index]), index)
        raise KeyError(key)


def offsets(totals: Iterable[tuple[int, Place]]) -> dict[int, Place]:
    """Sums up, for each group, what all groups before it add; under -1 what all add together."""
    found: dict[int, Place] = {}
    kept, ranges = 0, 0
    for group, total in sorted(totals):
        found[group] = Place(kept, ranges)
        kept, ranges = kept + total.kept, ranges + total.ranges
    found[-1] = Place(kept, ranges)
    return found


class Places:
    """The places of ranges, from a small table of groups and the groups that were asked for last.

    Args:
      cuts: where groups begin.
      offsets: what is before each group.
      counts_of: gives a group's counts, by its number; it may ask somebody else for each.
    """

    def __init__(
        self, cuts: Sequence[RangeKey], offsets: Mapping[int, Place], counts_of: Callable[[int], GroupCounts]
    ) -> None:
        self._cuts, self._offsets, self._counts_of = cuts, offsets, counts_of
        self._known: dict[int, GroupCounts] = {}

    @property
    def total(self) -> Place:
        """The sum of the counts of all ranges."""
        return self._offsets[-1]

    def of(self, key: RangeKey) -> Place:
        """A range's place among all.

        Raises:
          KeyError: when it was not counted.
        """
        group = group_of(key, self._cuts)
        if group not in self._known:
            while len(self._known) >= _REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[group] = self._counts_of(group)
        within, before = self._known[group].place(key), self._offsets[group]
        return Place(before.kept + within.kept, before.ranges + within.ranges)


_REMEMBERED = 16


def places_of(counts: Sequence[KeptCount], cuts: Sequence[RangeKey]) -> Iterator[tuple[RangeKey, Place]]:
    """The place of each range, in the order of `counts`: what the transforms do, where all ranges are at hand."""
    by_group: dict[int, list[KeptCount]] = {}
    for count in counts:
        by_group.setdefault(group_of(count[0], cuts), []).append(count)
    groups = {group: GroupCounts.of(some) for group, some in by_group.items()}
    before = offsets((group, one.total) for group, one in groups.items())
    places = Places(cuts, before, groups.__getitem__)
    yield from ((key, places.of(key)) for key, _ in counts)
