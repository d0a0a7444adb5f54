"""Score columns that scored ranges lack: from what stands of a range, or from its shard again; nothing is embedded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import apache_beam as beam
from apache_beam.metrics import Metrics

from beam_curator import progress, rows
from beam_curator.errors import JobError
from beam_curator.models.scorers.batches import with_scores
from beam_curator.models.scorers.calls import LoadedScorer
from beam_curator.models.scorers.scorer import Scorer
from beam_curator.output.added_columns import read_range, write_columns
from beam_curator.output.score_parts import StoredRange, read_embeddings
from beam_curator.output.score_steps import ScoreStep, Wanted
from beam_curator.samples import SampleBatch, ShardRange
from beam_curator.sources.sample_batches import read_batch
from beam_curator.transforms.claims import Title
from beam_curator.transforms.picture_scoring import with_picture_scores


class ScoreStored(beam.DoFn):
    """Computes the columns that a range lacks, writes them beside its part, and gives its batch."""

    def __init__(
        self, directory: str, wanted: Wanted, scorers: Sequence[Scorer], draft_side: int | None, title: Title
    ) -> None:
        self._directory, self._wanted, self._draft_side, self._title = directory, wanted, draft_side, title
        self._loaded = {scorer.name: LoadedScorer(scorer) for scorer in scorers}

    def setup(self) -> None:
        self._title.enter()

    def teardown(self) -> None:
        self._title.leave()

    def process(self, range: ShardRange) -> Iterator[SampleBatch]:
        self._title.check(range.url)
        stored = read_range(self._directory, range, self._wanted)
        if stored is None:
            raise JobError(f"{range.url}: the scores of a range are gone that were there: run the same command again")
        lacking = stored.lacking(self._wanted.steps)
        of_pixels = [step for step in lacking if step.needs == "pixels"]
        batch = _with_embeddings(stored.batch) if any(step.needs == "embedding" for step in lacking) else stored.batch
        for step in lacking:
            if step.needs != "pixels":
                scored = with_scores(batch, self._loaded[step.name], step.identity)
                write_columns(self._directory, stored, step, scored)
        if of_pixels:
            again = self._from_pixels(stored, of_pixels)
            for step in of_pixels:
                write_columns(self._directory, stored, step, again)
        whole = read_range(self._directory, range, self._wanted)
        if whole is None or whole.lacking(self._wanted.steps):
            raise JobError(f"{range.url}: columns that were just written to {self._directory} cannot be read")
        yield _counted(whole.batch, reread=bool(of_pixels))

    def _from_pixels(self, stored: StoredRange, steps: Sequence[ScoreStep]) -> SampleBatch:
        batch = stored.batch
        read = read_batch(batch.range)
        if not read.rows.select(_PLACE).equals(batch.rows.select(_PLACE)):
            raise JobError(f"{batch.range.url}: the shard has changed since it was read")
        again = batch.replace(samples=read.samples)
        return with_picture_scores(again, [self._loaded[step.name] for step in steps], self._draft_side)


_PLACE = ["key", "offset", "span_bytes"]


def _with_embeddings(batch: SampleBatch) -> SampleBatch:
    """The batch of a part with its embeddings, read once for all scorers."""
    found = read_embeddings(batch.part or "")
    return batch.replace(embeddings=found.embeddings, more_embeddings=found.more, more_of=found.more_of)


def _counted(batch: SampleBatch, reread: bool) -> SampleBatch:
    Metrics.counter("beam_curator", "samples_reused").inc(len(batch))
    Metrics.counter("beam_curator", "samples_reread" if reread else "samples_from_stored").inc(len(batch))
    failed = int(rows.status_is(batch.rows, rows.FAILED).sum())
    progress.BOARD.add(batch.range, samples=len(batch), failed=failed, scored=False)
    return batch
