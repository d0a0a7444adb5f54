"""What stands in an output directory and is not this selection's: found and removed by many workers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.utils.windowed_value import WindowedValue

from beam_curator.output import strays
from beam_curator.output.belonging import OF_RANGES, foreign, output_shard_index
from beam_curator.output.outcomes import Summary
from beam_curator.output.totals import LedgerTotal, WrittenTotal
from beam_curator.samples import ShardRange
from beam_curator.storage import files
from beam_curator.transforms.beams_own import inner_steps_untyped
from beam_curator.transforms.claims import OnTitle, Title

_CHECKED_TOGETHER = 100

Bucketed = tuple[int, bytes]
"""Some names of files, packed, under their bucket."""


class _Packing(beam.DoFn):
    """Sends names to their buckets, some together."""

    def start_bundle(self) -> None:
        self._packing = strays.Packing()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        window = beam.transforms.window.GlobalWindow()
        for packed in self._packing.rest():
            yield WindowedValue(packed, window.max_timestamp(), (window,))


class _Belonging(_Packing):
    """What belongs there, by what it is called."""

    def process(self, name: str) -> Iterator[Bucketed]:
        yield from self._packing.add(name)


class _Standing(_Packing):
    """What stands in a directory, after all that belongs there is written."""

    def __init__(self, output: str) -> None:
        self._output = output

    def process(self, directory: str, parts: LedgerTotal, written: WrittenTotal) -> Iterator[Bucketed]:
        for name in strays.standing(self._output, directory, written.shards):
            yield from self._packing.add(name)


class _Remove(OnTitle):
    """Removes the strays of a bucket; gives how many."""

    def __init__(self, output: str, title: Title) -> None:
        super().__init__(title)
        self._output = output

    def process(self, bucket: tuple[int, Mapping[str, Iterable[bytes]]]) -> Iterator[int]:
        belonging, there = (strays.unpacked(bucket[1][name]) for name in ("belonging", "there"))
        found = strays.strays(belonging, there)
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
    of_ranges = ranges | "OfRanges" >> beam.FlatMap(strays.belonging_to).with_output_types(str)
    named = (of_ranges, ledger_files) | "AllBelonging" >> beam.Flatten().with_output_types(str)
    belonging = named | "Belonging" >> beam.ParDo(_Belonging()).with_output_types(Bucketed)
    there = (
        ranges.pipeline
        | "Directories" >> beam.Create([*OF_RANGES, strays.OUTPUT_SHARDS]).with_output_types(str)
        | "ListDirectory" >> beam.ParDo(_Standing(output), parts, written).with_output_types(Bucketed)
    )
    with inner_steps_untyped(ranges.pipeline):
        buckets = {"belonging": belonging, "there": there} | "ByBucket" >> beam.CoGroupByKey()
    return buckets | "RemoveStrays" >> beam.ParDo(_Remove(output, title)).with_output_types(int)


def _in_the_way(seen: Summary, output: str, samples_per_shard: int) -> Iterator[list[str]]:
    """The files that stand where output shards are going to be, some together."""
    output_shards = -(-seen.kept // samples_per_shard)
    named = ((name, output_shard_index(name)) for name in files.iter_files(output))
    there = (files.join(output, name) for name, index in named if index is not None and index < output_shards)
    while some := list(itertools.islice(there, _CHECKED_TOGETHER)):
        yield some


def files_in_the_way(seen: beam.PCollection[Summary], output: str, samples_per_shard: int) -> beam.PCollection[str]:
    """The files in the places of output shards that no job wrote. Many workers look."""
    some = seen | "InTheWay" >> beam.FlatMap(_in_the_way, output, samples_per_shard).with_output_types(list[str])
    spread = some | "SpreadNames" >> beam.Reshuffle().with_output_types(list[str])
    return spread | "Foreign" >> beam.FlatMap(foreign).with_output_types(str)
