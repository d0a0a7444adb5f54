"""Score once, select for ever: the transforms that write score parts, and find those that stand."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam

from beam_curator import progress, rows
from beam_curator.errors import JobError
from beam_curator.identities import ModelIdentity
from beam_curator.models.scorers.scorer import Scorer
from beam_curator.output.added_columns import read_range
from beam_curator.output.score_parts import write_part
from beam_curator.output.score_steps import ScoreStep, Wanted, arranged
from beam_curator.output.scores_from import is_whole, lacks
from beam_curator.phases import REUSING, SCORING, Span
from beam_curator.samples import SampleBatch, ShardRange
from beam_curator.transforms.beams_own import MAIN, Tagged
from beam_curator.transforms.claims import Title, title_of
from beam_curator.transforms.display import display_of_models
from beam_curator.transforms.lineage import facts_of
from beam_curator.transforms.metrics import count, count_scored
from beam_curator.transforms.stored_scoring import ScoreStored


class _WriteScores(beam.DoFn):
    def __init__(self, directory: str, title: Title, steps: Sequence[ScoreStep]) -> None:
        self._directory, self._title, self._steps = directory, title, steps

    def setup(self) -> None:
        self._title.enter()

    def teardown(self) -> None:
        self._title.leave()

    def process(self, batch: SampleBatch) -> Iterator[SampleBatch]:
        self._title.check(batch.range.url)
        if batch.part is not None:
            yield batch
            return
        written = write_part(self._directory, batch, [step for step in self._steps if step.name in batch.models])
        failed = count_scored(written)
        progress.BOARD.add(written.range, samples=len(written), failed=failed, scored=True)
        began = min((span.began for span in batch.spans.values()), default=time.time())
        yield written.replace(spans={SCORING: Span(began, time.time(), len(written))})


@beam.typehints.with_input_types(SampleBatch)
@beam.typehints.with_output_types(SampleBatch)
@dataclasses.dataclass(eq=False)
class WriteScores(beam.PTransform):
    """Writes scored batches, each as one Parquet part: takes `SampleBatch`, gives it without bytes and embeddings.

    Batches that have a part already pass through. A directory that holds another job's output, or files that are
    nobody's, is refused, where the pipeline is built and where it runs; so is input that lies in it.

    Attributes:
      output: the output directory; parts go to its `scores/`.
    """

    output: str

    def expand(self, batches: beam.PCollection[SampleBatch]) -> beam.PCollection[SampleBatch]:
        title, steps = title_of(batches, self.output), facts_of(batches).steps
        return batches | beam.ParDo(_WriteScores(self.output, title, steps)).with_output_types(SampleBatch)

    def display_data(self) -> dict[str, Any]:
        return {"output": self.output}


class _FindScored(beam.DoFn):
    MISSING, LACKING, UNSEEN = "missing", "lacking", "unseen"
    """Ranges that nothing stands of; that lack columns or fields; that lack columns from pixels."""

    def __init__(self, directory: str, wanted: Wanted, columns: frozenset[str] | None, all_there: bool = False) -> None:
        self._directory, self._wanted, self._columns, self._all_there = directory, wanted, columns, all_there

    def process(self, range: ShardRange) -> Iterator[Any]:
        began = time.time()
        stored = read_range(self._directory, range, self._wanted)
        if self._all_there and (stored is None or not is_whole(stored, self._wanted)):
            raise JobError(lacks(self._directory, range, stored, self._wanted))
        if stored is None:
            yield beam.pvalue.TaggedOutput(self.MISSING, range)
            return
        lacking = stored.lacking(self._wanted.steps)
        if lacking or stored.lacks_fields:
            from_pixels = any(step.needs == "pixels" for step in lacking)
            yield beam.pvalue.TaggedOutput(self.UNSEEN if from_pixels else self.LACKING, range)
            return
        batch = stored.batch
        count("ranges_scored")
        count("samples_reused", len(batch))
        failed = int(rows.status_is(batch.rows, rows.FAILED).sum())
        progress.BOARD.add(range, samples=len(batch), failed=failed, scored=False)
        table = batch.rows
        if self._columns is not None:
            table = table.select([name for name in table.schema.names if name.lower() in self._columns])
        yield batch.replace(rows=table, spans={REUSING: Span(began, time.time(), len(batch))})


@beam.typehints.with_input_types(ShardRange)
@beam.typehints.with_output_types(SampleBatch)
class Scoring(beam.PTransform):
    """The scoring chain of a `Checkpoint`: takes `ShardRange`, gives `SampleBatch` with embeddings and scores.

    Attributes:
      encoder: what embeds.
      scorers: what scores, in the order of their columns.
      sources: where the weights of each step come from, for people.
    """

    encoder: ModelIdentity
    scorers: Sequence[Scorer] = ()
    sources: Mapping[str, str]

    @property
    def wanted(self) -> Wanted:
        """The embeddings and scores that it gives for each range."""
        return Wanted(self.encoder, tuple(ScoreStep.of(one, self.identity_of(one)) for one in self.scorers))

    def identity_of(self, scorer: Scorer) -> ModelIdentity:
        """A scorer's identity beside the encoder."""
        return scorer.identity

    @property
    def facts(self) -> Mapping[str, Any]:
        """This step's part of `lineage.Facts`: its encoder and its scorers."""
        return {"encoder": self.encoder, "steps": self.wanted.steps}

    def display_data(self) -> dict[str, Any]:
        return display_of_models(self.wanted.models)


class _ScoreAndWrite(beam.PTransform):
    def __init__(self, scoring: Scoring, output: str) -> None:
        super().__init__()
        self._scoring, self._output = scoring, output

    def expand(self, ranges: beam.PCollection[ShardRange]) -> beam.PCollection[SampleBatch]:
        arranging = beam.Map(_arranged, self._scoring.wanted.steps).with_output_types(SampleBatch)
        scored = ranges | "Chain" >> self._scoring | "Arrange" >> arranging
        written = scored | "WriteScores" >> WriteScores(self._output)
        return written | "LeaveFields" >> beam.Map(_without_fields).with_output_types(SampleBatch)


def _arranged(batch: SampleBatch, steps: Sequence[ScoreStep]) -> SampleBatch:
    """The batch with its columns in the order in which they are read again."""
    return batch.replace(rows=arranged(batch.rows, steps))


def _without_fields(batch: SampleBatch) -> SampleBatch:
    """The batch as one whose part stood there: fields are kept beside it, and come back where rules look at them."""
    return batch.replace(rows=rows.without_fields(batch.rows))


@beam.typehints.with_input_types(ShardRange)
@beam.typehints.with_output_types(SampleBatch)
@dataclasses.dataclass(eq=False)
class Checkpoint(beam.PTransform):
    """Scores what has not been scored yet: takes `ShardRange`, gives `SampleBatch` without bytes.

    It works by step. A range that nothing stands of goes through the whole scoring chain; reading, embedding, scoring
    and writing are fused on one worker. Of a range that is embedded, columns that are wanted and not there are computed
    from what is stored, or where they need pixels, from the range read again; nothing is embedded.

    Attributes:
      output: the output directory; parts go to its `scores/`, later columns to `columns/`.
      scoring: from `ShardRange` to `SampleBatch` with embeddings and scores, as `ScoreRanges` does it.
      hints: Beam's resource hints for what needs the device: the chain, and scorers that need pixels.
      scores_from: another output directory, which has all scores: nothing is scored then.
      columns: those that rows of ranges that were scored before come with, in small letters, where what follows looks
        at no others, and reads them again; None for all.
    """

    output: str
    scoring: Scoring
    hints: Mapping[str, str] = dataclasses.field(default_factory=dict)
    scores_from: str | None = None
    columns: frozenset[str] | None = None

    def expand(self, ranges: beam.PCollection[ShardRange]) -> beam.PCollection[SampleBatch]:
        wanted, scoring = self.scoring.wanted, self.scoring
        if self.scores_from is not None:
            taking = beam.ParDo(_FindScored(self.scores_from, wanted, self.columns, all_there=True))
            return ranges | "TakeScored" >> taking.with_output_types(SampleBatch)
        finding = beam.ParDo(_FindScored(self.output, wanted, self.columns))
        tags = {_FindScored.MISSING: ShardRange, _FindScored.LACKING: ShardRange, _FindScored.UNSEEN: ShardRange}
        found = ranges | "FindScored" >> Tagged(finding, main=SampleBatch, **tags)
        chain = _ScoreAndWrite(scoring, self.output).with_resource_hints(**self.hints)
        fresh = found[_FindScored.MISSING] | "Score" >> chain
        title = title_of(ranges, self.output)
        settings = (self.output, wanted, scoring.scorers, title)
        adding = beam.ParDo(ScoreStored(*settings)).with_output_types(SampleBatch)
        from_stored = found[_FindScored.LACKING] | "ScoreStored" >> adding
        seeing = beam.ParDo(ScoreStored(*settings, from_pixels=True)).with_output_types(SampleBatch)
        seeing = seeing.with_resource_hints(**self.hints)
        from_pixels = found[_FindScored.UNSEEN] | "ScorePixels" >> seeing
        return (found[MAIN], fresh, from_stored, from_pixels) | beam.Flatten().with_output_types(SampleBatch)

    def display_data(self) -> dict[str, Any]:
        return {"output": self.output, "scoring": self.scoring}
