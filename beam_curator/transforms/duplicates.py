"""DropDuplicates: of samples that repeat one another, one stays."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam

from beam_curator import rows
from beam_curator.duplicates.competitors import Competitors, competitors_in
from beam_curator.duplicates.settings import SEMANTIC, DuplicateSettings, changed, check_put_to_use
from beam_curator.errors import UsageError
from beam_curator.given_paths import named
from beam_curator.output.against import check_against, competitors_of_output
from beam_curator.output.deduplicating import RangeDrops, find_duplicates
from beam_curator.output.embeddings_from import check_embeddings, part_elsewhere
from beam_curator.samples import SampleBatch
from beam_curator.storage.places import real
from beam_curator.transforms.beams_own import check_one_window, inner_steps_untyped
from beam_curator.transforms.checkpointing import WriteScores
from beam_curator.transforms.claims import Title, title_of
from beam_curator.transforms.lineage import check_before_duplicates, facts_of, transforms_before
from beam_curator.transforms.metrics import count
from beam_curator.transforms.semantic_join import Comparing, Gathered, JoinVectors, OfSet, OfVectors, samples_in
from beam_curator.transforms.spilling import Spillable


def _competitors(batch: SampleBatch, settings: DuplicateSettings) -> OfSet:
    count("ranges_to_compare")
    table = competitors_in(batch.rows, settings)
    part = batch.part or ""
    if settings.embeddings:
        part = part_elsewhere(settings.embeddings, part)
    found = Competitors(batch.range.name, batch.range.url, batch.range.start, part, table)
    return len(settings.against), Spillable(found)


def _competitors_of_other(other: tuple[int, str], settings: DuplicateSettings) -> Iterator[OfSet]:
    number, output = other
    for found in competitors_of_output(output, settings):
        yield number, Spillable(found)


class _Find(Comparing):
    """Decides for all samples, on one worker."""

    def __init__(self, output: str, settings: DuplicateSettings, title: Title) -> None:
        super().__init__(title)
        self._output, self._settings = output, settings

    def process(
        self, gathered: Gathered, ids: Iterable[OfVectors], pieces: Sequence[str]
    ) -> Iterator[tuple[str, RangeDrops]]:
        self.begin()
        samples = samples_in(gathered, self._settings)
        yield from find_duplicates(self._output, self._settings, samples, dict(ids), pieces).items()


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
    """Drops duplicates: takes `SampleBatch`, selected, and gives it; put it right before `WriteShards`.

    Only samples that the steps before keep are compared. They are gone through in the order of `keep`, the best first:
    a sample is dropped if, and only if, it is a duplicate of one that was kept before it. Its reason is
    "duplicate: KIND", and its row has `duplicate_of` (the `sample_id` of the first such sample), `duplicate_kind` and
    `duplicate_distance`.

    Batches whose scores are not written yet are first written to `scores/` of the output, where embeddings are read.
    While workers share the comparison, embeddings stand in `edges/` sorted by cell, about three times, at 2 bytes a
    number; the pairs that are found stay there for later runs. One worker then decides which samples are dropped.

    Args:
      output: the output directory, the same as that of `WriteShards`.
      **settings: see `DuplicateSettings`: `kinds`, `cosine`, `bits`, `keep`, `by`, `against`, `slack`,
        `embeddings`.

    Raises:
      UsageError: settings contradict each other; another output cannot be compared with; or a `DropDuplicates` comes
        before it. A `Select` or `KeepTop` after it is refused as well.
    """

    def __init__(self, output: str | os.PathLike[str], **settings: Any) -> None:
        super().__init__()
        self.output = named(output, "output")
        self.settings = DuplicateSettings(**settings)
        check_put_to_use(self.settings.kinds, changed(settings))

    @property
    def facts(self) -> Mapping[str, Any]:
        """This step's part of `lineage.Facts`: how duplicates are looked for."""
        return {"flags": {"duplicates": self.settings.as_json}}

    def expand(self, batches: beam.PCollection[SampleBatch]) -> beam.PCollection[SampleBatch]:
        check_one_window(batches, "DropDuplicates")
        check_before_duplicates(batches, "DropDuplicates")
        facts = facts_of(batches)
        check_against(self.settings, self.output, facts.encoder)
        if self.settings.embeddings:
            check_embeddings(self.settings.embeddings, self.output)
        title = title_of(batches, self.output)
        scored = batches | "WriteScores" >> WriteScores(self.output)
        competitors = scored | "Compete" >> beam.Map(_competitors, self.settings).with_output_types(OfSet)
        with inner_steps_untyped(batches.pipeline):
            if self.settings.against:
                competitors = (competitors, self._others(batches.pipeline)) | "WithOthers" >> beam.Flatten()
            together = competitors | "OnOneWorker" >> beam.WithKeys(None) | "Gather" >> beam.GroupByKey()
            aside: tuple[Any, Any] = [], []
            if SEMANTIC in self.settings.kinds:
                ids, pieces = together | "JoinVectors" >> JoinVectors(self.output, self.settings, title)
                aside = beam.pvalue.AsIter(ids), beam.pvalue.AsList(pieces)
        find = beam.ParDo(_Find(self.output, self.settings, title), *aside)
        drops = together | "FindDuplicates" >> find.with_output_types(tuple[str, RangeDrops])
        return scored | "Drop" >> beam.Map(drop_from_batch, beam.pvalue.AsMultiMap(drops)).with_output_types(
            SampleBatch
        )

    def _others(self, pipeline: beam.Pipeline) -> beam.PCollection[OfSet]:
        """The samples of the outputs that are compared with."""
        others = pipeline | "Others" >> beam.Create(list(enumerate(self.settings.against)))
        return others | "CompeteOthers" >> beam.FlatMap(_competitors_of_other, self.settings).with_output_types(OfSet)

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
