"""MatchShards, PlanRanges, ReadSamples: from the names of shards to batches of samples with their bytes."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystem import FileMetadata
from apache_beam.transforms.display import DisplayDataItem
from apache_beam.utils.windowed_value import WindowedValue

from beam_curator import process_tuning, progress
from beam_curator.defaults import DEFAULT_RANGE_MB
from beam_curator.errors import JobError, UsageError
from beam_curator.first_few import counted
from beam_curator.given_paths import named_if_any
from beam_curator.given_values import is_number, plain, switch
from beam_curator.output.job_input import match_input, shards_of, urls_and_sizes
from beam_curator.output.plans import KeptPlans
from beam_curator.phases import PLANNING, SCORING, Span
from beam_curator.reading import DEFAULT_READING, Reading, SeveralImages, carried, sources
from beam_curator.samples import SampleBatch, Shard, ShardRange
from beam_curator.sources import matching
from beam_curator.sources.formats import AUTO, checked_format
from beam_curator.sources.joined_pieces import JoinedPieces
from beam_curator.sources.patterns import Patterns, several
from beam_curator.sources.pieces import PieceOfRange, read_batches
from beam_curator.sources.ranges import plan_ranges
from beam_curator.sources.sample_batches import read_batch
from beam_curator.sources.shard_identity import KnownShard
from beam_curator.sources.tar.planning import range_bytes_of
from beam_curator.transforms.beams_own import check_one_window, inner_steps_untyped
from beam_curator.transforms.claims import title_of
from beam_curator.transforms.display import display_of_patterns, display_of_reading
from beam_curator.transforms.metrics import count, observe


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


class _ReadRanges(beam.DoFn):
    """Reads ranges into batches, in a thread, while the steps that follow work on the batch before.

    Args:
      in_pieces: whether a large range is given in pieces.
    """

    def __init__(self, in_pieces: bool = False) -> None:
        self._read = read_batches if in_pieces else _read_at_once

    def setup(self) -> None:
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="read")

    def start_bundle(self) -> None:
        self._under_way: _RangeUnderWay | None = None

    def process(
        self, range: ShardRange, window: Any = beam.DoFn.WindowParam, timestamp: Any = beam.DoFn.TimestampParam
    ) -> Iterator[WindowedValue]:
        progress.BOARD.enter(SCORING)
        before, following = self._under_way, _RangeUnderWay(self._reader, self._read(range), window, timestamp)
        self._under_way = following
        if before is None:
            following.begin()
        else:
            yield from before.batches(then=following.begin)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        last, self._under_way = self._under_way, None
        if last is not None:
            yield from last.batches()

    def teardown(self) -> None:
        self._reader.shutdown(wait=False, cancel_futures=True)


class _RangeUnderWay:
    """A range whose next batch is being read."""

    def __init__(self, reader: ThreadPoolExecutor, read: Iterator[SampleBatch], window: Any, timestamp: Any) -> None:
        self._reader, self._read, self._window, self._timestamp = reader, read, window, timestamp
        self._seconds = 0.0

    def begin(self) -> None:
        """Starts to read the next batch."""
        self._reading = self._reader.submit(_read_timed, self._read)

    def batches(self, then: Callable[[], None] | None = None) -> Iterator[WindowedValue]:
        """Gives the batches of the range, each while the next one is read.

        Args:
          then: called before the last batch is given, to begin reading the next range.
        """
        while True:
            batch = self._reading.result()
            del self._reading  # which holds the batch
            is_last = not isinstance(batch, PieceOfRange) or batch.whole is not None
            if not is_last:
                self.begin()
            elif then is not None:
                then()
            count("samples_read", len(batch))
            self._seconds += sum(span.ended - span.began for span in batch.spans.values())
            if is_last:
                _count_read(batch.range, self._seconds)
            yield WindowedValue(batch, self._timestamp, (self._window,))
            if is_last:
                return
            del batch


def _read_at_once(range: ShardRange) -> Iterator[SampleBatch]:
    yield read_batch(range)


def _read_timed(read: Iterator[SampleBatch]) -> SampleBatch:
    began = time.time()
    batch = next(read)
    return batch.replace(spans={SCORING: Span(began, time.time())})


def _count_read(range: ShardRange, seconds: float) -> None:
    count("bytes_read", range.size_bytes)
    observe("range_bytes", [range.size_bytes])
    observe("range_read_ms", [round(1000 * seconds)])


@beam.typehints.with_input_types(ShardRange)
@beam.typehints.with_output_types(SampleBatch)
@dataclasses.dataclass(eq=False)
class ReadRanges(beam.PTransform):
    """Reads ranges: takes `ShardRange`, gives `SampleBatch` with bytes. Keep what needs the bytes fused with it.

    A range is read while the steps that follow work on the one before.

    Attributes:
      in_pieces: whether a range of more than 80 MiB is given in pieces of 64 MiB, one after the other, which
        `JoinRanges` makes one batch of: a worker then holds bytes of some pieces, however large the ranges are.
    """

    in_pieces: bool = False

    def expand(self, ranges: beam.PCollection[ShardRange]) -> beam.PCollection[SampleBatch]:
        return ranges | beam.ParDo(_ReadRanges(self.in_pieces)).with_output_types(SampleBatch)


class _JoinRanges(beam.DoFn):
    def start_bundle(self) -> None:
        self._pieces = JoinedPieces()

    def process(self, batch: SampleBatch) -> Iterator[SampleBatch]:
        if not isinstance(batch, PieceOfRange):
            yield batch
            return
        whole = self._pieces.add(batch)
        if whole is not None:
            yield whole

    def finish_bundle(self) -> None:
        self._pieces.check_whole()


@beam.typehints.with_input_types(SampleBatch)
@beam.typehints.with_output_types(SampleBatch)
class JoinRanges(beam.PTransform):
    """Makes one batch of the pieces of each range, once what needs their bytes is done: takes and gives `SampleBatch`,
    those from pieces without bytes. It needs no shuffle, for pieces of a range follow each other on one worker."""

    def expand(self, batches: beam.PCollection[SampleBatch]) -> beam.PCollection[SampleBatch]:
        return batches | beam.ParDo(_JoinRanges()).with_output_types(SampleBatch)


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


@beam.typehints.with_input_types(Shard | FileMetadata)
@beam.typehints.with_output_types(SampleBatch)
@dataclasses.dataclass(eq=False)
class ReadSamples(beam.PTransform):
    """Reads samples of tars, Parquet files, MDS shards, folders or lists: takes the pipeline, gives `SampleBatch` with
    the members' bytes.

    Without patterns it takes what `MatchShards` or Beam's `fileio.MatchFiles` gives.

    Attributes:
      patterns: what to read, one or several: a path, glob, directory or brace range, local or in a bucket; None to read
        the shards of a PCollection.
      range_mb: about how much of a shard is one batch, in MiB.
      allow_missing: whether to go on without shards that are named and missing, as long as there are others.
      group_by_key, several_images, image_from, caption_from, carry: as those of `Reading`; extensions and fields may
        be given as text, separated by commas. `group_by_key` is for tars alone: with other shards the job fails.
      output: the output directory, whose `plans/` keeps where large and compressed shards are cut; None to read such
        shards for it in every run. If it lies under the patterns, what a job wrote there is no input.
      input_format: as that of `MatchShards`.
      image_column, caption_column: as those of `Reading`.
    """

    patterns: Patterns | None = None
    range_mb: float = DEFAULT_RANGE_MB
    allow_missing: bool = False
    group_by_key: bool = False
    several_images: SeveralImages = "fail"
    image_from: str | Sequence[str] = ()
    caption_from: str | Sequence[str] = ()
    carry: str | Sequence[str] = "all"
    output: str | os.PathLike[str] | None = None
    input_format: str = AUTO
    image_column: str = ""
    caption_column: str = ""

    def __post_init__(self) -> None:
        self._patterns = None if self.patterns is None else several(self.patterns)
        checked_format(self.input_format)
        switch(self.allow_missing, "allow_missing")
        self._reading = Reading(
            self.group_by_key,
            self.several_images,
            sources("image_from", self.image_from),
            sources("caption_from", self.caption_from),
            carried(self.carry),
            self.image_column,
            self.caption_column,
        )
        self._plan = PlanRanges(self.range_mb, named_if_any(self.output, "output"), self._reading)

    def expand(
        self, begin: beam.pvalue.PBegin | beam.PCollection[Shard | FileMetadata]
    ) -> beam.PCollection[SampleBatch]:
        return self._shards(begin) | self._plan | ReadRanges()

    def _shards(self, begin: beam.pvalue.PValue) -> beam.PCollection[Shard]:
        if isinstance(begin, beam.pvalue.PBegin):
            if self._patterns is None:
                raise UsageError('ReadSamples() without patterns reads a PCollection of shards: give it "DIR/*.tar"')
            how = {name: getattr(self, name) for name in ("output", "input_format", "image_column", "caption_column")}
            return begin | MatchShards(self._patterns, self.allow_missing, **how)
        if self._patterns is not None:
            raise UsageError("ReadSamples with patterns begins a pipeline: leave them out to read a PCollection")
        return begin if begin.element_type is Shard else begin | ShardsOfFiles()

    def display_data(self) -> dict[str, Any]:
        patterns = {} if self._patterns is None else display_of_patterns(self._patterns)
        return {**patterns, **self._plan.display_data(), "allow_missing": self.allow_missing}
