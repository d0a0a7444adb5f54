"""MatchShards, ShardsOfFiles, PlanRanges: from the names of shards to ranges of them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystem import FileMetadata
from apache_beam.transforms.display import DisplayDataItem

from beam_curator import process_tuning, progress
from beam_curator.defaults import DEFAULT_RANGE_MB
from beam_curator.errors import JobError, UsageError
from beam_curator.first_few import counted
from beam_curator.given_paths import named_if_any
from beam_curator.given_values import is_number, plain, switch
from beam_curator.output.job_input import match_input, shards_of, urls_and_sizes
from beam_curator.output.plans import KeptPlans
from beam_curator.phases import PLANNING
from beam_curator.reading import DEFAULT_READING, Reading
from beam_curator.samples import Shard, ShardRange
from beam_curator.sources import matching
from beam_curator.sources.formats import AUTO, checked_format
from beam_curator.sources.patterns import Patterns, several
from beam_curator.sources.ranges import plan_ranges
from beam_curator.sources.shard_identity import KnownShard
from beam_curator.sources.tar.planning import range_bytes_of
from beam_curator.transforms.beams_own import check_one_window, inner_steps_untyped
from beam_curator.transforms.claims import title_of
from beam_curator.transforms.display import display_of_patterns, display_of_reading
from beam_curator.transforms.metrics import count


@beam.typehints.with_output_types(Shard)
@dataclasses.dataclass(eq=False)
class MatchShards(beam.PTransform):
    """Lists the shards of the input: takes the pipeline, gives `Shard`.

    Attributes:
      patterns: what to read, one or several: a path, glob, directory or brace range, or "@FILE" with one of these on
        each line. Such files are read, and `~` is written out, where the pipeline is built.
      allow_missing: whether to go on without shards that are named and missing, as long as there are others.
      seen: `urls_and_sizes` of the shards that were there when the pipeline was built: the job fails if it finds
        others. None to take whatever it finds.
      output: the output directory, if it may lie under the patterns: what a job wrote there is no input.
      known: called for the shards that an earlier run of the job knew; these keep their urls, however the patterns
        spell them now.
      input_format: what the patterns name: "webdataset", "parquet", "mds", "folder" or "list", or a source of your own
        as "package.module:Object"; "auto" to tell it from names and content.
      image_column, caption_column: as those of `Reading`; they help to tell a list from Parquet files with images.
    """

    patterns: Patterns
    allow_missing: bool = False
    seen: str | None = None
    output: str | os.PathLike[str] | None = None
    known: Callable[[], Sequence[KnownShard]] = tuple
    input_format: str = AUTO
    image_column: str = ""
    caption_column: str = ""

    def __post_init__(self) -> None:
        self._patterns = several(self.patterns)
        self._output = named_if_any(self.output, "output")
        switch(self.allow_missing, "allow_missing")
        checked_format(self.input_format)
        self._columns = Reading(image_column=self.image_column, caption_column=self.caption_column)

    @property
    def facts(self) -> Mapping[str, Any]:
        """This step's part of `lineage.Facts`: the patterns of the input, and the output directory, which is no
        input."""
        return {"patterns": self._patterns, "left_out": [self._output] if self._output else []}

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[Shard]:
        patterns = matching.named_patterns(self._patterns)
        how = (self.input_format, self._columns)
        tuned = process_tuning.is_on()
        again = beam.FlatMap(_match_again, self.allow_missing, self.seen, self._output, self.known, how, tuned)
        once = beam.Create([patterns]).with_output_types(list[str])
        return begin | once | again.with_output_types(Shard)

    def display_data(self) -> dict[str, Any]:
        return {
            **display_of_patterns(self._patterns),
            "allow_missing": self.allow_missing,
            "input_format": self.input_format,
            "output": DisplayDataItem(self._output, label="Left out").drop_if_none(),
        }


def _match_again(
    patterns: Sequence[str],
    allow_missing: bool,
    seen: str | None,
    output: str | None,
    known: Callable[[], Sequence[KnownShard]],
    how: tuple[str, Reading],
    tuned: bool,
) -> list[Shard]:
    process_tuning.turn_on(tuned)
    with process_tuning.collector_paused():
        try:
            matched = match_input(patterns, output, known(), input_format=how[0], reading=how[1])
            if not allow_missing:
                matched.check_missing()
        except UsageError as error:
            raise JobError(str(error)) from error
        shards = matched.shards
        changed = seen is not None and urls_and_sizes(shards) != seen
    if changed:
        raise JobError(
            "the input has changed since this command looked at it: "
            f"{counted(len(shards), 'shard is', 'shards are')} there now, some of them new, gone or of another size. "
            "Run the same command again when the input is whole"
        )
    return shards


@beam.typehints.with_input_types(FileMetadata)
@beam.typehints.with_output_types(Shard)
@dataclasses.dataclass(eq=False)
class ShardsOfFiles(beam.PTransform):
    """Makes shards of files: takes the `FileMetadata` that `fileio.MatchFiles` gives, gives `Shard`, each once.

    For bounded input in the global window.
    """

    def expand(self, found: beam.PCollection[FileMetadata]) -> beam.PCollection[Shard]:
        check_one_window(found, "ReadSamples")
        with inner_steps_untyped(found.pipeline):
            together = found | "AllFiles" >> beam.combiners.ToList()
        return together | beam.FlatMap(_shards_of).with_output_types(Shard)


def _shards_of(found: Sequence[FileMetadata]) -> list[Shard]:
    try:
        return shards_of(found)
    except UsageError as error:
        raise JobError(str(error)) from error


@beam.typehints.with_input_types(Shard)
@beam.typehints.with_output_types(ShardRange)
@dataclasses.dataclass(eq=False)
class PlanRanges(beam.PTransform):
    """Cuts shards into ranges at sample boundaries, and spreads the ranges over the workers.

    Takes `Shard`, gives `ShardRange`.

    Attributes:
      range_mb: about how large a range is, in MiB.
      output: the output directory, whose `plans/` keeps where large and compressed shards are cut; None to read such
        shards for it in every run.
      reading: how the ranges are to be read.
      plans_from: another output directory, whose plans are used where `output` has none.
    """

    range_mb: float = DEFAULT_RANGE_MB
    output: str | None = None
    reading: Reading = DEFAULT_READING
    plans_from: str | None = None

    def __post_init__(self) -> None:
        if not (is_number(self.range_mb) and self.range_mb > 0):
            raise UsageError(f"range_mb={self.range_mb!r}: a range needs a size above 0 MiB")
        self.range_mb = plain(self.range_mb)

    @property
    def facts(self) -> Mapping[str, Any]:
        """This step's part of `lineage.Facts`: about how large ranges are, in MiB."""
        return {"range_mb": self.range_mb}

    def expand(self, shards: beam.PCollection[Shard]) -> beam.PCollection[ShardRange]:
        range_bytes = range_bytes_of(self.range_mb)
        title = title_of(shards, self.output) if self.output else None
        plans = KeptPlans(self.output, title=title, also_in=self.plans_from) if self.output else None
        return (
            shards
            | "SpreadShards" >> beam.Reshuffle().with_output_types(Shard)
            | "Plan" >> beam.FlatMap(_planned, range_bytes, plans, self.reading).with_output_types(ShardRange)
            | "SpreadRanges" >> beam.Reshuffle().with_output_types(ShardRange)
        )

    def display_data(self) -> dict[str, Any]:
        plans = DisplayDataItem(self.output, label="Keeps plans in").drop_if_none()
        return {"range_mb": self.range_mb, "plans": plans, **display_of_reading(self.reading)}


def _planned(shard: Shard, range_bytes: int, plans: KeptPlans | None, reading: Reading) -> Iterator[ShardRange]:
    progress.BOARD.enter(PLANNING)
    if reading.group_by_key and shard.format:
        raise JobError(f"group_by_key joins members of a tar, and {shard.url} is none: leave it out")
    found = list(plan_ranges(shard, range_bytes, plans, reading))
    count("shards_planned")
    count("ranges_planned", len(found))
    count("bytes_planned", sum(one.size_bytes for one in found))
    progress.BOARD.add_planned(found)
    yield from found
