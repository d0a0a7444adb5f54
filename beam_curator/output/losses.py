"""Counts what broken and empty shards cost: bytes that could not be read, and about how many samples were in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from beam_curator.first_few import counted
from beam_curator.samples import Shard, ShardError, ShardRange

MAX_EMPTY = 4


@dataclasses.dataclass(frozen=True)
class Losses:
    """The bytes that could not be read of broken shards, over some ranges.

    Attributes:
      read_bytes: how many bytes of the ranges were read.
      unread_bytes: how many bytes of each broken shard come after the place where it breaks, by its url.
      empty: the first few shards that have a range without samples.
    """

    read_bytes: int = 0
    unread_bytes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    empty: tuple[Shard, ...] = ()

    @classmethod
    def of_range(cls, range: ShardRange, samples: int, errors: Iterable[ShardError]) -> Losses:
        """Counts what one range did not give; what is unread of a compressed shard is counted as it is stored, so too
        low."""
        unread = {error.url: max(0, range.shard.size_bytes - error.offset) for error in errors}
        read = max(0, range.size_bytes - sum(unread.values()))
        return cls(read, unread, () if samples else (range.shard,))

    def __add__(self, other: Losses) -> Losses:
        total = LossesTotal()
        total.add(self)
        total.add(other)
        return total.losses

    def lost_samples(self, seen: int) -> int:
        """Estimates how many samples broken shards have lost: at least one each, and as many as the bytes that could
        not be read would hold at the size of the `seen` samples that were."""
        return sum(self.lost_in(url, seen) for url in self.unread_bytes)

    def lost_in(self, url: str, seen: int) -> int:
        """The same of one broken shard."""
        average = self.read_bytes / seen if seen else 0
        return max(1, round(self.unread_bytes.get(url, 0) / average) if average else 1)

    def describe(self, seen: int) -> str:
        """Says what to tell of broken shards behind the number of failed samples; "" where there are none."""
        broken = len(self.unread_bytes)
        if not broken:
            return ""
        return (
            f" and {counted(broken, 'broken shard')} lost about {self.lost_samples(seen)} more "
            "(an estimate; at least one each)"
        )


class LossesTotal:
    """A sum of losses that is added to in place."""

    def __init__(self) -> None:
        self._read_bytes = 0
        self._unread_bytes: dict[str, int] = {}
        self._empty: tuple[Shard, ...] = ()

    def add(self, one: Losses) -> None:
        """Adds losses; of empty shards the first few stay."""
        self._read_bytes += one.read_bytes
        self._unread_bytes.update(one.unread_bytes)
        if one.empty:
            self._empty = tuple(sorted({*self._empty, *one.empty})[:MAX_EMPTY])

    @property
    def losses(self) -> Losses:
        """The sum of what was added."""
        return Losses(self._read_bytes, dict(self._unread_bytes), self._empty)
