"""Finds and removes, on many workers, what stands in an output directory and belongs to no file of this selection."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from beam_curator.output import strays
from beam_curator.output.belonging import OF_RANGES, foreign, output_shard_index
from beam_curator.output.outcomes import Summary
from beam_curator.output.packing import Packing
from beam_curator.output.totals import LedgerTotal, WrittenTotal
from beam_curator.samples import ShardRange
from beam_curator.storage import directories, urls
from beam_curator.transforms.claims import OnTitle, Title
from beam_curator.transforms.packing import PackingStep
from beam_curator.transforms.spilling import Spillable

_CHECKED_TOGETHER = 100

Bucketed = tuple[int, Spillable]
"""Under their bucket whether some files stand or belong, and their names, packed."""


class _Packing(PackingStep):
    """Sends names to their buckets, some together."""

    stands = False

    def packing(self) -> Packing[int, str, Spillable]:
        def pack(names: list[str]) -> Spillable:
            return Spillable((self.stands, strays.packed(names)))

        return Packing(strays.PACKED, pack, strays.MOST_WAITING)

    def packed(self, names: Iterable[str]) -> Iterator[Bucketed]:
        """Adds names to the packs of their buckets; yields the packs that are full."""
        for name in names:
            yield from self._packing.add(strays.bucket_of(name), name)


class _OfRanges(_Packing):
    """Yields the names of files that belong to ranges, in packs by bucket."""

    def process(self, range: ShardRange) -> Iterator[Bucketed]:
        yield from self.packed(strays.belonging_to(range))


class _OfLedger(_Packing):
    """The files of the ledger."""

    def process(self, name: str) -> Iterator[Bucketed]:
        yield from self.packed([name])


class _Standing(_Packing):
    """Yields the names of files that stand in a directory, in packs by bucket, after all that belongs there is
    written."""

    stands = True

    def __init__(self, output: str) -> None:
        self._output = output

    def process(self, directory: str, parts: LedgerTotal, written: WrittenTotal) -> Iterator[Bucketed]:
        yield from self.packed(strays.standing(self._output, directory, written.shards))


class _Remove(OnTitle):
    """Removes the strays of a bucket; gives how many."""

    def __init__(self, output: str, title: Title) -> None:
        super().__init__(title)
        self._output = output

    def process(self, bucket: tuple[int, Iterable[Spillable]]) -> Iterator[int]:
        packs: dict[bool, list[bytes]] = {True: [], False: []}
        for one in bucket[1]:
            stands, names = one.value
            packs[stands].append(names)
        found = strays.strays(strays.unpacked(packs[False]), strays.unpacked(packs[True]))
        if found:
            self._title.confirm()
            yield strays.remove(self._output, found)


def strays_removed(
    output: str,
    title: Title,
    ranges: beam.PCollection[ShardRange],
    ledger_files: beam.PCollection[str],
    parts: Any,
    written: Any,
) -> beam.PCollection[int]:
    """Removes what jobs wrote and this one did not; gives how many are gone, of each bucket of names that had some.

    Args:
      output: the output directory.
      title: what allows to write there.
      ranges: all ranges of the selection.
      ledger_files: the names of all files of its ledger, each given when it is written.
      parts: a side input, the `LedgerTotal`, which is there when the ledger is written.
      written: a side input, the `WrittenTotal`, which is there when all output shards are.
    """
    of_ranges = ranges | "OfRanges" >> beam.ParDo(_OfRanges()).with_output_types(Bucketed)
    of_ledger = ledger_files | "OfLedger" >> beam.ParDo(_OfLedger()).with_output_types(Bucketed)
    there = (
        ranges.pipeline
        | "Directories" >> beam.Create([*OF_RANGES, strays.OUTPUT_SHARDS]).with_output_types(str)
        | "ListDirectory" >> beam.ParDo(_Standing(output), parts, written).with_output_types(Bucketed)
    )
    names = (of_ranges, of_ledger, there) | "Names" >> beam.Flatten().with_output_types(Bucketed)
    buckets = names | "ByBucket" >> beam.GroupByKey().with_output_types(tuple[int, Iterable[Spillable]])
    return buckets | "RemoveStrays" >> beam.ParDo(_Remove(output, title)).with_output_types(int)


def _in_the_way(seen: Summary, output: str, samples_per_shard: int) -> Iterator[list[str]]:
    """The files that stand where output shards are going to be, some together."""
    output_shards = -(-seen.kept // samples_per_shard)
    named = ((name, output_shard_index(name)) for name in directories.iter_files(output))
    there = (urls.join(output, name) for name, index in named if index is not None and index < output_shards)
    while some := list(itertools.islice(there, _CHECKED_TOGETHER)):
        yield some


def files_in_the_way(seen: beam.PCollection[Summary], output: str, samples_per_shard: int) -> beam.PCollection[str]:
    """The files in the places of output shards that no job wrote. Many workers look."""
    some = seen | "InTheWay" >> beam.FlatMap(_in_the_way, output, samples_per_shard).with_output_types(list[str])
    spread = some | "SpreadNames" >> beam.Reshuffle().with_output_types(list[str])
    return spread | "Foreign" >> beam.FlatMap(foreign).with_output_types(str)
