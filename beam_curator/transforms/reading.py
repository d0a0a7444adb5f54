"""ReadRanges, JoinRanges, ReadSamples: from ranges of shards to batches of samples with their bytes."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystem import FileMetadata
from apache_beam.utils.windowed_value import WindowedValue

from beam_curator import progress
from beam_curator.defaults import DEFAULT_RANGE_MB
from beam_curator.errors import UsageError
from beam_curator.given_paths import named_if_any
from beam_curator.given_values import switch
from beam_curator.phases import SCORING, Span
from beam_curator.reading import Reading, SeveralImages, carried, sources
from beam_curator.samples import SampleBatch, Shard, ShardRange
from beam_curator.sources.formats import AUTO, checked_format
from beam_curator.sources.joined_pieces import JoinedPieces
from beam_curator.sources.patterns import Patterns, several
from beam_curator.sources.pieces import PieceOfRange, read_batches
from beam_curator.sources.sample_batches import read_batch
from beam_curator.transforms.display import display_of_patterns
from beam_curator.transforms.metrics import count, observe
from beam_curator.transforms.planning import MatchShards, PlanRanges, ShardsOfFiles


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
