"""Score once, select for ever: the transforms that write score parts, and find those that stand."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from beam_curator import progress, rows
from beam_curator.output.score_parts import read_part, write_part
from beam_curator.samples import SampleBatch, ShardRange
from beam_curator.transforms.beams_own import MAIN, tagged
from beam_curator.transforms.claims import Title, title_of
from beam_curator.transforms.display import display_of_models


class _WriteScores(beam.DoFn):
    def __init__(self, directory: str, title: Title) -> None:
        self._directory, self._title = directory, title

    def setup(self) -> None:
        self._title.enter()

    def teardown(self) -> None:
        self._title.leave()

    def process(self, batch: SampleBatch) -> Iterator[SampleBatch]:
        self._title.check(batch.range.url)
        if batch.part is not None:
            yield batch
            return
        written = write_part(self._directory, batch)
        failed = int(rows.status_is(written.rows, rows.FAILED).sum())
        Metrics.counter("beam_curator", "samples_scored").inc(len(written))
        Metrics.counter("beam_curator", "samples_failed").inc(failed)
        progress.BOARD.add(written.range, samples=len(written), failed=failed, scored=True)
        yield written


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
        writing = beam.ParDo(_WriteScores(self.output, title_of(batches, self.output)))
        return batches | writing.with_output_types(SampleBatch)

    def display_data(self) -> dict[str, Any]:
        return {"output": self.output}


class _FindScored(beam.DoFn):
    MISSING = "missing"

    def __init__(self, directory: str, models: Mapping[str, str]) -> None:
        self._directory, self._models = directory, dict(models)

    def process(self, range: ShardRange) -> Iterator[Any]:
        batch = read_part(self._directory, range, self._models)
        if batch is None:
            yield beam.pvalue.TaggedOutput(self.MISSING, range)
            return
        Metrics.counter("beam_curator", "samples_reused").inc(len(batch))
        failed = int(rows.status_is(batch.rows, rows.FAILED).sum())
        progress.BOARD.add(range, samples=len(batch), failed=failed, scored=False)
        yield batch


@beam.typehints.with_input_types(ShardRange)
@beam.typehints.with_output_types(SampleBatch)
class Scoring(beam.PTransform):
    """What `Checkpoint` scores with: from `ShardRange` to `SampleBatch` with embeddings and scores.

    Attributes:
      models: what it puts into `SampleBatch.models`: step to the identity of its model.
      sources: where the weights of each come from, for people.
    """

    models: Mapping[str, str]
    sources: Mapping[str, str]

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a manifest says of it."""
        return {"models": dict(self.models)}

    def display_data(self) -> dict[str, Any]:
        return display_of_models(self.models)


@beam.typehints.with_input_types(ShardRange)
@beam.typehints.with_output_types(SampleBatch)
@dataclasses.dataclass(eq=False)
class Checkpoint(beam.PTransform):
    """Scores the ranges that have not been scored yet: takes `ShardRange`, gives `SampleBatch` without bytes.

    It holds the whole scoring chain, so that reading, embedding, scoring and writing are fused on one worker, and a
    resource hint on it covers them all.

    Attributes:
      output: the output directory; parts go to its `scores/`.
      scoring: from `ShardRange` to `SampleBatch` with embeddings and scores, as `ScoreRanges` does it.
    """

    output: str
    scoring: Scoring

    def expand(self, ranges: beam.PCollection[ShardRange]) -> beam.PCollection[SampleBatch]:
        finding = beam.ParDo(_FindScored(self.output, self.scoring.models))
        found = ranges | "FindScored" >> tagged(finding, main=SampleBatch, **{_FindScored.MISSING: ShardRange})
        fresh = found[_FindScored.MISSING] | "Score" >> self.scoring | "WriteScores" >> WriteScores(self.output)
        return (found[MAIN], fresh) | beam.Flatten().with_output_types(SampleBatch)

    def display_data(self) -> dict[str, Any]:
        return {"output": self.output, "scoring": self.scoring}
