"""Where each kept sample goes: pure arithmetic on counts, so that the output is the same for every bundling.

Kept samples are ordered by (shard url, offset); the n-th of them is at place n; place // samples_per_shard is its
output shard.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

RangeKey = tuple[str, int]
"""What orders ranges: (shard url, start)."""


class Slice(NamedTuple):
    """A run of a range's kept samples that goes to one output shard.

    Attributes:
      output_index: which output shard.
      position: the place in it of the run's first sample.
      first: the run's first sample, counted among the range's kept ones.
      samples: how many.
    """

    output_index: int
    position: int
    first: int
    samples: int


def first_places(kept: Iterable[tuple[RangeKey, int]]) -> dict[RangeKey, int]:
    """The place of each range's first kept sample, from how many samples each range keeps."""
    places: dict[RangeKey, int] = {}
    place = 0
    for key, count in sorted(kept):
        places[key] = place
        place += count
    return places


def slices(first_place: int, count: int, samples_per_shard: int) -> Iterator[Slice]:
    """How a range's kept samples, whose first is at `first_place`, fall into output shards."""
    first = 0
    while first < count:
        output_index, position = divmod(first_place + first, samples_per_shard)
        taken = min(count - first, samples_per_shard - position)
        yield Slice(output_index, position, first, samples=taken)
        first += taken


def shard_name(output_index: int) -> str:
    """An output shard's name without its extension: five digits, as img2dataset has it."""
    return f"{output_index:05d}"


def output_key(output_index: int, position: int, samples_per_shard: int) -> str:
    """A kept sample's key in the output: shard and position, as img2dataset has it, unique in the whole output."""
    digits = max(4, len(str(samples_per_shard - 1)))
    return f"{output_index:05d}{position:0{digits}d}"
