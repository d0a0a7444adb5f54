"""DropDuplicates: of samples that repeat one another, one stays."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam

from beam_curator import progress, rows
from beam_curator.duplicates.competitors import Competitors, competitors_in
from beam_curator.duplicates.settings import DuplicateSettings
from beam_curator.errors import UsageError
from beam_curator.output.against import check_against, competitors_of_output
from beam_curator.output.deduplicating import RangeDrops, find_duplicates
from beam_curator.phases import COMPARING
from beam_curator.samples import SampleBatch
from beam_curator.storage.places import real
from beam_curator.transforms.beams_own import inner_steps_untyped
from beam_curator.transforms.checkpointing import WriteScores
from beam_curator.transforms.claims import Title, title_of
from beam_curator.transforms.lineage import check_before_duplicates, facts_of, transforms_before


def _competitors(batch: SampleBatch, settings: DuplicateSettings) -> Competitors:
    table = competitors_in(batch.rows, settings)
    return Competitors(batch.range.name, batch.range.url, batch.range.start, batch.part or "", table)


class _Find(beam.DoFn):
    """Decides for all samples, on one worker."""

    def __init__(self, output: str, settings: DuplicateSettings, title: Title) -> None:
        self._output, self._settings, self._title = output, settings, title

    def setup(self) -> None:
        self._title.enter()

    def teardown(self) -> None:
        self._title.leave()

    def process(self, ranges: tuple[None, Iterable[Competitors]]) -> Iterator[tuple[str, RangeDrops]]:
        self._title.confirm()
        progress.BOARD.enter(COMPARING)
        others = [competitors_of_output(other, self._settings) for other in self._settings.against]
        yield from find_duplicates(self._output, self._settings, list(ranges[1]), others).items()


def drop_from_batch(batch: SampleBatch, drops: Mapping[str, Iterable[RangeDrops]]) -> SampleBatch:
    """The batch with its duplicates dropped.

    Args:
      batch: selected.
      drops: those of its range under the range's name.
    """
    found = list(drops[batch.range.name])
    indices = [int(index) for one in found for index in one.rows]
    of = [kept for one in found for kept in one.of]
    kind = [name for one in found for name in one.kind]
    distance = [float(far) for one in found for far in one.distance]
    return batch.replace(rows=rows.without_duplicates(batch.rows, indices, of, kind, distance))


@beam.typehints.with_input_types(SampleBatch)
@beam.typehints.with_output_types(SampleBatch)
class DropDuplicates(beam.PTransform):
    """Drops samples that repeat others: takes `SampleBatch`, selected, and gives it; put it right before `WriteShards`.

    Only samples that are kept so far compete. In the order of `keep`, a sample goes if, and only if, one before it
    stays that it is a duplicate of. Its reason is "duplicate: KIND", and it says `duplicate_of` (the `sample_id` of the
    first such sample), `duplicate_kind` and `duplicate_distance`. Batches whose scores are not written yet are written
    to `scores/` of the output first: embeddings are read from there, on one worker, whose disk for temporary files
    holds them all for the time being (2 bytes a number). What was found stays in `edges/`.

    Args:
      output: the output directory: that of `WriteShards`.
      **settings: see `DuplicateSettings`: `kinds`, `cosine`, `bits`, `keep`, `by`, `against`, `slack`.

    Raises:
      UsageError: for settings that cannot be meant, for another output that cannot be compared with, and where a
        `DropDuplicates` came before it: a `Select` or `KeepTop` after it is refused as well.
    """

    def __init__(self, output: str, **settings: Any) -> None:
        super().__init__()
        self.output = output
        self.settings = DuplicateSettings(**settings)

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a manifest says of it."""
        return {"flags": {"duplicates": self.settings.told}}

    def expand(self, batches: beam.PCollection[SampleBatch]) -> beam.PCollection[SampleBatch]:
        check_before_duplicates(batches, "DropDuplicates")
        facts = facts_of(batches)
        check_against(self.settings, self.output, facts.encoder)
        title = title_of(batches, self.output)
        scored = batches | "WriteScores" >> WriteScores(self.output)
        competitors = scored | "Compete" >> beam.Map(_competitors, self.settings).with_output_types(Competitors)
        with inner_steps_untyped(batches.pipeline):
            together = competitors | "OnOneWorker" >> beam.WithKeys(None) | "Gather" >> beam.GroupByKey()
        drops = together | "FindDuplicates" >> beam.ParDo(_Find(self.output, self.settings, title)).with_output_types(
            tuple[str, RangeDrops]
        )
        return scored | "Drop" >> beam.Map(drop_from_batch, beam.pvalue.AsMultiMap(drops)).with_output_types(
            SampleBatch
        )

    def display_data(self) -> dict[str, Any]:
        told = dataclasses.asdict(self.settings)
        return {name: ", ".join(value) if isinstance(value, tuple) else value for name, value in told.items()}


def check_same_output(batches: beam.PCollection[SampleBatch], output: str) -> None:
    """Raises UsageError where duplicates are dropped in another directory than that of `WriteShards`."""
    for step in transforms_before(batches):
        if isinstance(step, DropDuplicates) and real(step.output) != real(output):
            raise UsageError(
                f"WriteShards writes to {output}, and DropDuplicates before it to {step.output}: give both the same "
                "directory, which has scores and edges beside what they are of"
            )
