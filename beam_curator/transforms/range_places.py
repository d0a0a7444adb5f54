"""The places of ranges as side inputs: a small table that each worker has, and groups that it asks for one by one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.utils.windowed_value import WindowedValue

from beam_curator.output.packing import Packing
from beam_curator.output.prefix_sums import (
    GroupCounts,
    KeptCount,
    KeySample,
    Place,
    Places,
    RangeKey,
    group_of,
    offsets,
)
from beam_curator.transforms.beams_own import total_aside
from beam_curator.transforms.packing import PackingStep
from beam_curator.transforms.spilling import Spillable

_WAIT_TOGETHER = 1000
"""So many counts wait together for where groups begin."""

_GO_TOGETHER, _MOST_WAITING = 100, 100_000
"""So many counts of a group travel together; a bundle holds so many of all groups, some 25 MB, at most."""


@beam.typehints.with_input_types(KeptCount)
@beam.typehints.with_output_types(list[RangeKey])
class _SampleKeys(beam.CombineFn):
    """Draws keys of ranges: of fixed size however many there are."""

    def create_accumulator(self) -> KeySample:
        return KeySample()

    def add_input(self, drawn: KeySample, count: KeptCount) -> KeySample:
        drawn.add(count[0])
        return drawn

    def merge_accumulators(self, drawn: Iterable[KeySample]) -> KeySample:
        total = KeySample()
        for one in drawn:
            total.add_all(one)
        return total

    def extract_output(self, drawn: KeySample) -> list[RangeKey]:
        return drawn.cuts()


class _Pack(PackingStep):
    """Sends counts on some together, whatever ranges they are of."""

    def packing(self) -> Packing[None, KeptCount, Spillable]:
        return Packing(_WAIT_TOGETHER, Spillable, most=_WAIT_TOGETHER)

    def process(self, count: KeptCount) -> Iterator[Spillable]:
        for _, packed in self._packing.add(None, count):
            yield packed

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for rest in super().finish_bundle():
            yield rest.with_value(rest.value[1])


class _InGroup(PackingStep):
    """Sends counts to their groups, some together."""

    def packing(self) -> Packing[int, KeptCount, Spillable]:
        return Packing(_GO_TOGETHER, Spillable, _MOST_WAITING)

    def process(self, counts: Spillable, cuts: Sequence[RangeKey]) -> Iterator[tuple[int, Spillable]]:
        for count in counts.value:
            yield from self._packing.add(group_of(count[0], cuts), count)


def _group_counts(group: tuple[int, Iterable[Spillable]]) -> tuple[int, Spillable]:
    counts = itertools.chain.from_iterable(counts.value for counts in group[1])
    return group[0], Spillable(GroupCounts.of(counts))


def _total(group: tuple[int, Spillable]) -> tuple[int, Place]:
    counts: GroupCounts = group[1].value
    return group[0], counts.total


class PlacesAside(NamedTuple):
    """The side inputs of a step that asks for places: hand them all to it, and its `process` makes `Places` of them.

    Attributes:
      cuts: one list, where groups begin.
      totals: what each group adds for those after it, by its number.
      groups: by its number, the `GroupCounts` of each group; looked up on the runner, which need not have all on a
        worker.
    """

    cuts: Any
    totals: Any
    groups: Any


def places_aside(counts: beam.PCollection[KeptCount]) -> PlacesAside:
    """The places of all ranges, from how many samples each keeps."""
    cuts = total_aside(_SampleKeys(), counts, "SampleRanges")
    grouped = (
        counts
        | "PackCounts" >> beam.ParDo(_Pack()).with_output_types(Spillable)
        | "InGroup" >> beam.ParDo(_InGroup(), cuts).with_output_types(tuple[int, Spillable])
        | "GroupRanges" >> beam.GroupByKey().with_output_types(tuple[int, Iterable[Spillable]])
        | "CountGroup" >> beam.Map(_group_counts).with_output_types(tuple[int, Spillable])
    )
    totals = grouped | "TotalOfGroup" >> beam.Map(_total).with_output_types(tuple[int, Place])
    return PlacesAside(cuts, beam.pvalue.AsIter(totals), beam.pvalue.AsMultiMap(grouped))


class PlacesInHand:
    """`Places` as a step keeps them from one element to the next: it remembers groups that it asked for."""

    def __init__(self) -> None:
        self._places: Places | None = None

    @property
    def total(self) -> Place:
        """The kept samples and bytes of all ranges together; known once the place of a range was asked for."""
        assert self._places is not None
        return self._places.total

    def of(
        self,
        key: RangeKey,
        cuts: Sequence[RangeKey],
        totals: Iterable[tuple[int, Place]],
        groups: Mapping[int, Iterable[Spillable]],
    ) -> Place:
        """A range's place."""

        def counts_of(group: int) -> GroupCounts:
            (counts,) = groups[group]
            return counts.value

        if self._places is None:
            self._places = Places(cuts, offsets(totals), counts_of)
        return self._places.of(key)
