"""WriteShards: from selected batches to output shards, the ledger and the manifest."""

from __future__ import annotations

import collections
import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import apache_beam as beam
import pyarrow as pa

from beam_curator import process_tuning, progress, rows
from beam_curator.defaults import DEFAULT_SAMPLES_PER_SHARD, MOST_RANGES_PER_FILE
from beam_curator.errors import UsageError
from beam_curator.given_paths import named
from beam_curator.given_values import is_number, is_whole, plain, switch
from beam_curator.output import ledger, outcomes
from beam_curator.output.belonging import check_free
from beam_curator.output.compaction import Piece, write_piece
from beam_curator.output.field_store import CarriedFields
from beam_curator.output.manifest import finish, withdraw_manifest
from beam_curator.output.output_shard import WrittenShard, write_shard
from beam_curator.output.placing import PlacedSamples, place_samples
from beam_curator.output.prefix_sums import KeptCount, Place, RangeKey
from beam_curator.output.score_parts import directory_of
from beam_curator.output.score_steps import Wanted
from beam_curator.output.totals import LedgerTotal, WrittenTotal
from beam_curator.output.whole_rows import with_all_columns
from beam_curator.phases import WRITING, Span
from beam_curator.rule_tally import check_rules
from beam_curator.samples import SampleBatch, ShardRange
from beam_curator.sources.no_samples import no_sample
from beam_curator.transforms import held_rows
from beam_curator.transforms.beams_own import MAIN, Once, Tagged, check_one_window, total_aside
from beam_curator.transforms.checkpointing import WriteScores
from beam_curator.transforms.claims import Title, title_of
from beam_curator.transforms.compaction import JoinPieces
from beam_curator.transforms.duplicates import check_same_output
from beam_curator.transforms.input_read import InputRead, input_read
from beam_curator.transforms.library_job import remember_shards
from beam_curator.transforms.lineage import facts_of
from beam_curator.transforms.metrics import count, observe
from beam_curator.transforms.range_places import PlacesInHand, places_aside
from beam_curator.transforms.spilling import Spillable
from beam_curator.transforms.strays import files_in_the_way, strays_removed
from beam_curator.transforms.totals import SumLedger, SumSummaries, SumWritten
from beam_curator.transforms.work_ahead import WorkAhead

LEDGER, LEDGER_FILES, PIECES = "ledger", "ledger_files", "pieces"


class _PlaceSamples(beam.DoFn):
    """Writes each batch's ledger rows and sends its kept samples to their output shards. Where rows come with some of
    their columns, the others are read again by what is `left`.

    Of few ranges each has a file of the ledger, whose name is given; of many its rows are a piece of one.
    """

    def __init__(
        self, output: str, samples_per_shard: int, ranges_per_file: int | None, title: Title, left: Wanted | None
    ) -> None:
        self._output, self._samples_per_shard, self._title, self._left = output, samples_per_shard, title, left
        self._ranges_per_file = ranges_per_file

    def setup(self) -> None:
        self._title.enter()

    def teardown(self) -> None:
        self._title.leave()

    def start_bundle(self) -> None:
        """The side inputs of a bundle are those of its window and attempt."""
        self._places = PlacesInHand()

    def process(self, batch: SampleBatch, checked: outcomes.Summary, *places: Any) -> Iterator[Any]:
        """Waits for what is checked: nothing is written when too many samples failed, or a rule is a mistake."""
        self._title.check(batch.range.url)
        began = time.time()
        progress.BOARD.enter(WRITING)
        place = self._places.of(_range_key(batch), *places)
        per_file = ledger.ranges_per_file(self._places.total.ranges, self._ranges_per_file)
        if self._left is not None:
            batch = with_all_columns(batch, self._left)
        table, placed = place_samples(batch, place.kept, self._samples_per_shard)
        fields = self._fields(batch, checked.fields.types)
        yield self._write(batch.range, rows.with_fields(table, fields.read(batch.range, len(batch))), place, per_file)
        summary = outcomes.recount(table, {WRITING: Span(began, time.time())})
        progress.BOARD.add_ledger_file()
        count("samples_listed", len(batch))
        part = ledger.LedgerPart(summary, dict(batch.models), batch.range.reading, per_file)
        yield beam.pvalue.TaggedOutput(LEDGER, part)
        for index, run in placed:
            yield index, Spillable(dataclasses.replace(run, fields=fields))

    def _write(self, range: ShardRange, table: pa.Table, place: Place, per_file: int) -> beam.pvalue.TaggedOutput:
        if per_file == 1:
            name = ledger.ledger_name(range)
            ledger.write_table(self._output, name, table)
            held_rows.hold(name, table)
            return beam.pvalue.TaggedOutput(LEDGER_FILES, name)
        piece = write_piece(self._output, range, place.ranges, table)
        return beam.pvalue.TaggedOutput(PIECES, (place.ranges // per_file, piece))

    def _fields(self, batch: SampleBatch, types: Mapping[str, str]) -> CarriedFields:
        """Says where the columns of the fields of this batch's samples are, with the types that all ranges together
        give them."""
        if batch.fields is None or not batch.fields.types:
            return CarriedFields(types)
        return CarriedFields(types, directory_of(batch.part) if batch.part else self._output)


class _WriteShards(WorkAhead[tuple[int, Iterable[Spillable]], WrittenShard]):
    """Writes two output shards at a time: while the system copies for one, the headers of the other are made.

    A third one waits, so that neither writer does when the later of two is finished first.
    """

    ahead = 2

    def __init__(self, output: str, title: Title | None = None) -> None:
        self._output, self._title = output, title
        self._tuned = process_tuning.is_on()

    def setup(self) -> None:
        """Also where no model is loaded, samples are many small objects."""
        if self._title is not None:
            self._title.enter()
        process_tuning.turn_on(self._tuned)
        process_tuning.spare_what_is_loaded()
        self._writers = ThreadPoolExecutor(2, thread_name_prefix="write")

    def start_bundle(self) -> None:
        super().start_bundle()
        self._writing: collections.deque[Future[WrittenShard]] = collections.deque()

    def start(self, placed: tuple[int, Iterable[Spillable]]) -> Callable[[], WrittenShard]:
        index, runs = placed
        self._writing.append(self._writers.submit(_write_timed, self._output, index, list(runs)))
        return self._finished

    def _finished(self) -> WrittenShard:
        """The shard that was started first, whose turn it is."""
        writing = self._writing.popleft()
        if writing.exception() is not None:
            self._stop()
        return _count_written(writing.result())

    def _stop(self) -> None:
        """Cancels what was to be written: nothing goes on behind a job that has failed."""
        for writing in self._writing:
            writing.cancel()
        wait(self._writing)

    def teardown(self) -> None:
        self._writers.shutdown(wait=False, cancel_futures=True)
        if self._title is not None:
            self._title.leave()


def _write_timed(output: str, index: int, placed: Sequence[Spillable]) -> WrittenShard:
    began = time.time()
    runs: list[PlacedSamples] = [one.value for one in placed]
    written = write_shard(output, index, runs)
    return dataclasses.replace(written, spans={WRITING: Span(began, time.time(), written.samples)})


def _count_written(written: WrittenShard) -> WrittenShard:
    count("samples_written", written.samples)
    count("bytes_written", written.bytes)
    observe("shard_write_ms", [round(1000 * (span.ended - span.began)) for span in written.spans.values()])
    progress.BOARD.add_output_shard(written.samples)
    return written


def _range_key(batch: SampleBatch) -> RangeKey:
    return batch.range.url, batch.range.start


def _kept_count(batch: SampleBatch) -> KeptCount:
    kept = int(rows.status_is(batch.rows, rows.KEPT).sum())
    count("samples_kept", kept)
    return _range_key(batch), kept


def _checked(summary: outcomes.Summary, limit: float) -> outcomes.Summary:
    if not summary.seen:
        raise no_sample(summary.losses.empty)
    check_rules(summary.judged)
    summary.check_failed_fraction(limit)
    return summary


@beam.typehints.with_input_types(SampleBatch)
@beam.typehints.with_output_types(dict[str, Any])
@dataclasses.dataclass(eq=False)
class WriteShards(beam.PTransform):
    """Writes the kept samples as tar shards, the ledger of all samples, and the manifest.

    Takes `SampleBatch`, selected; gives one dict, the content of `manifest.json`. Batches whose scores are not written
    yet are first written to `scores/`, so that neither images nor embeddings are shuffled.

    Attributes:
      output: the output directory, local or in a bucket.
      samples_per_shard: how many samples every output shard but the last holds.
      max_failed_fraction: the job fails when more than this fraction of the samples failed, or was lost in broken
        shards (an estimate, at least one each). It fails in any case when all did, or when there is not one.
      job: entries of the manifest that replace those made from the pipeline: `flags`, `input`, and `started`, in
        seconds since 1970.
      take_over: whether to take the directory, when the pipeline is built, from another job that holds it.
      ranges_per_ledger_file: how many ranges share one file of the ledger, from 1; None for 1 in a job of up to 10,000
        ranges, and 1,000 in a larger one.

    Raises:
      UsageError: when the pipeline is built: the directory holds another job's output, or files that no job wrote, or
        the input lies in it. The running pipeline checks this again before it writes or removes anything.
    """

    output: str | os.PathLike[str]
    samples_per_shard: int = DEFAULT_SAMPLES_PER_SHARD
    max_failed_fraction: float = 1.0
    job: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    take_over: bool = False
    ranges_per_ledger_file: int | None = None

    def __post_init__(self) -> None:
        self._output = named(self.output, "output")
        switch(self.take_over, "take_over")
        if not is_whole(self.samples_per_shard) or self.samples_per_shard < 1:
            raise UsageError(
                f"samples_per_shard={self.samples_per_shard!r}: a shard holds a whole number of samples, 1 or more"
            )
        if not (is_number(self.max_failed_fraction) and 0 <= self.max_failed_fraction <= 1):
            raise UsageError(f"max_failed_fraction={self.max_failed_fraction!r}: a fraction is from 0 to 1")
        ranges = self.ranges_per_ledger_file
        if ranges is not None and not (is_whole(ranges) and 1 <= ranges <= MOST_RANGES_PER_FILE):
            most = f"{MOST_RANGES_PER_FILE:,}"
            raise UsageError(
                f"ranges_per_ledger_file={ranges!r}: a file holds a whole number of ranges, from 1 to {most}"
            )

        self.samples_per_shard, self.max_failed_fraction = map(
            plain, (self.samples_per_shard, self.max_failed_fraction)
        )
        self.ranges_per_ledger_file = plain(ranges)

    def expand(self, batches: beam.PCollection[SampleBatch]) -> beam.PCollection[dict[str, Any]]:
        check_one_window(batches, "WriteShards")
        check_same_output(batches, self._output)
        title = title_of(batches, self._output, self.take_over)
        job = {**self._described(title), **self.job, "samples_per_shard": self.samples_per_shard}
        scored = batches | "WriteScores" >> WriteScores(self._output)
        read = input_read(scored, job)
        seen = beam.pvalue.AsSingleton(self._make_way(scored, title, job, read))
        kept = scored | "CountKept" >> beam.Map(_kept_count).with_output_types(KeptCount)
        left = facts_of(batches).left
        placer = _PlaceSamples(self._output, self.samples_per_shard, self.ranges_per_ledger_file, title, left)
        types = {LEDGER: ledger.LedgerPart, LEDGER_FILES: str, PIECES: tuple[int, Piece]}
        placed = scored | "PlaceSamples" >> Tagged(
            beam.ParDo(placer, seen, *places_aside(kept)), main=tuple[int, Spillable], **types
        )
        joined = placed[PIECES] | "JoinPieces" >> JoinPieces(self._output, title)
        shards = (
            placed[MAIN]
            | "GroupByOutputShard" >> beam.GroupByKey().with_output_types(tuple[int, Iterable[Spillable]])
            | "WriteShard" >> beam.ParDo(_WriteShards(self._output, title)).with_output_types(WrittenShard)
        )
        parts = total_aside(SumLedger(), placed[LEDGER], "SumLedger")
        written = total_aside(SumWritten(), shards, "SumWritten")
        ranges = scored | "Ranges" >> beam.Map(_range).with_output_types(ShardRange)
        ledger_files = (placed[LEDGER_FILES], joined) | "LedgerFiles" >> beam.Flatten().with_output_types(str)
        removed = beam.pvalue.AsIter(strays_removed(self._output, title, ranges, ledger_files, parts, written))
        finish_job = Once(dict[str, Any], _finish, title, job, seen, parts, written, read, removed)
        return batches.pipeline | "WriteManifest" >> finish_job

    def _make_way(
        self, scored: beam.PCollection[SampleBatch], title: Title, job: Mapping[str, Any], read: Any
    ) -> beam.PCollection[outcomes.Summary]:
        """The counts of all samples, once they are found good and the way is free for the first file."""
        summaries = scored | "Summarize" >> beam.Map(outcomes.summarize).with_output_types(outcomes.Summary)
        seen = total_aside(SumSummaries(), summaries, "SumSeen")
        checking = Once(outcomes.Summary, _checked, seen, self.max_failed_fraction)
        checked = scored.pipeline | "CheckSelection" >> checking
        in_the_way = beam.pvalue.AsIter(files_in_the_way(checked, self._output, self.samples_per_shard))
        making_way = beam.Map(_make_way, title, job, read, in_the_way).with_output_types(outcomes.Summary)
        return checked | "WithdrawManifest" >> making_way

    def display_data(self) -> dict[str, Any]:
        limits = ("samples_per_shard", "max_failed_fraction")
        return {"output": self._output, **{name: getattr(self, name) for name in limits}}

    def _described(self, title: Title) -> dict[str, Any]:
        """Describes a pipeline of the library for the manifest, as far as its facts tell how it was composed."""
        facts = title.facts
        if facts is None:
            return {}
        known = {"input": list(facts.patterns), "range_mb": facts.range_mb, "rules": list(facts.rules)}
        own = {"samples_per_shard": self.samples_per_shard, "max_failed_fraction": self.max_failed_fraction}
        return {"flags": {**facts.flags, **known, **own}}


def _make_way(
    seen: outcomes.Summary,
    title: Title,
    job: Mapping[str, Any],
    read: InputRead,
    in_the_way: Iterable[str],
) -> outcomes.Summary:
    """Makes way for the first file of the selection: nobody else's may stand where one goes, and an earlier manifest is
    withdrawn."""
    output = title.claim.output
    title.confirm()
    progress.BOARD.expect_output_shards(-(-seen.kept // job["samples_per_shard"]))
    check_free(output, min(in_the_way, default=None))
    return withdraw_manifest(seen, output, {"input": read.described, **job})


def _finish(
    title: Title,
    job: Mapping[str, Any],
    seen: outcomes.Summary,
    parts: LedgerTotal,
    written: WrittenTotal,
    read: InputRead,
    removed: Iterable[int],
) -> dict[str, Any]:
    """The last step, once what an earlier selection left is removed."""
    output = title.claim.output
    began = title.confirm().since
    if title.facts is not None:
        remember_shards(output, read.urls)
    manifest = finish(output, seen, parts, written, {"started": began, "input": read.described, **job})
    title.finish()
    return manifest


def _range(batch: SampleBatch) -> ShardRange:
    return batch.range
