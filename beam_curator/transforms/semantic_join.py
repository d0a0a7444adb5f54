"""JoinVectors: the semantic join of a job, shared by workers. References travel; vectors are read from files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from beam_curator import progress
from beam_curator.duplicates.competitors import Competitors, Samples
from beam_curator.duplicates.settings import DuplicateSettings
from beam_curator.output.deduplicating import all_samples, known_ids, plan_semantic_join, read_ids
from beam_curator.output.edge_store import PartIds
from beam_curator.output.semantic_join import (
    Assigned,
    BlockTask,
    CellsTask,
    JoinPlace,
    compare_cells,
    group_cells,
    sort_block,
)
from beam_curator.output.vector_blocks import BlockCounts
from beam_curator.phases import COMPARING
from beam_curator.transforms.beams_own import MAIN, Tagged, inner_steps_untyped
from beam_curator.transforms.claims import OnTitle, Title
from beam_curator.transforms.lost_device import ending_worker_of_lost_device
from beam_curator.transforms.metrics import count
from beam_curator.transforms.spilling import Spillable

OfSet = tuple[int, Spillable]
"""A range's `Competitors`, and the number of the output that it is of: those that are compared with come first, the
job's own last."""

Gathered = tuple[None, Iterable[OfSet]]
"""All ranges, on one worker."""

OfVectors = tuple[str, PartIds]
"""The name of a range, and the ids of its vectors; there twice where two outputs to compare with are the same."""

_UNREAD = "unread"


def samples_in(gathered: Gathered, settings: DuplicateSettings) -> Samples | None:
    """The samples of all ranges; raises as `all_samples`."""
    sets: list[list[Competitors]] = [[] for _ in range(len(settings.against) + 1)]
    for number, one in gathered[1]:
        sets[number].append(one.value)
    return all_samples(sets, settings)


class Comparing(OnTitle):
    """A step that writes to the output directory while embeddings are compared."""

    def begin(self) -> None:
        """Makes sure, before a process writes, that the directory is still the job's."""
        self._title.confirm()
        progress.BOARD.enter(COMPARING)


def _ids_told(gathered: Gathered, output: str) -> Iterator[Any]:
    """Yields the ids of a range's vectors where they are known, and else, under another tag, the part that has to be
    read for them."""
    progress.BOARD.enter(COMPARING)
    for one, known in known_ids(output, [of_range.value for _, of_range in gathered[1]]):
        if known is not None:
            yield one.range, known
        else:
            yield beam.pvalue.TaggedOutput(_UNREAD, (one.range, one.part, len(one.table)))


def _read(unread: tuple[str, str, int]) -> OfVectors:
    name, part, rows = unread
    return name, read_ids(part, rows)


class _Plan(Comparing):
    """Makes the centres of cells, on one worker."""

    def __init__(self, output: str, settings: DuplicateSettings, title: Title) -> None:
        super().__init__(title)
        self._output, self._settings = output, settings

    def process(self, gathered: Gathered, ids: Iterable[OfVectors]) -> Iterator[BlockTask]:
        self.begin()
        samples = samples_in(gathered, self._settings)
        yield from plan_semantic_join(self._output, self._settings, samples, dict(ids))


class _Sort(Comparing):
    """Writes a block of vectors by cell."""

    def __init__(self, title: Title) -> None:
        super().__init__(title)
        self._assigned = Assigned()

    def process(self, task: BlockTask) -> Iterator[tuple[JoinPlace, str, BlockCounts]]:
        self.begin()
        with ending_worker_of_lost_device():
            found = sort_block(task, self._assigned)
        yield found


def _grouped(blocks: tuple[None, Iterable[tuple[JoinPlace, str, BlockCounts]]]) -> Iterator[CellsTask]:
    for task in group_cells(blocks[1]):
        count("groups_to_compare")
        progress.BOARD.add_group_to_compare()
        yield task


class _Compare(Comparing):
    """Finds the pairs of some cells."""

    def process(self, task: CellsTask) -> Iterator[str]:
        self.begin()
        with ending_worker_of_lost_device():
            found = compare_cells(task)
        count("groups_compared")
        progress.BOARD.add_group_compared()
        yield found


class JoinVectors(beam.PTransform):
    """Finds the pairs of embeddings of all ranges, gathered on one worker, as far as they are not known yet.

    Gives two PCollections: the ids of all ranges' vectors, by the ranges' names, and the names of the pieces of edges
    that are kept in the output directory.

    Args:
      output: the output directory.
      settings: what counts.
      title: to the directory.
    """

    def __init__(self, output: str, settings: DuplicateSettings, title: Title) -> None:
        super().__init__()
        self._output, self._settings, self._title = output, settings, title

    def expand(self, gathered: beam.PCollection[Any]) -> tuple[beam.PCollection, beam.PCollection]:
        told = gathered | "KnownIds" >> Tagged(
            beam.ParDo(_ids_told, self._output), OfVectors, **{_UNREAD: tuple[str, str, int]}
        )
        with inner_steps_untyped(gathered.pipeline):
            unread = told[_UNREAD] | "SpreadParts" >> beam.Reshuffle()
            read = unread | "ReadIds" >> beam.Map(_read).with_output_types(OfVectors)
            ids = (told[MAIN], read) | "Ids" >> beam.Flatten()
            blocks = gathered | "Plan" >> beam.ParDo(
                _Plan(self._output, self._settings, self._title), beam.pvalue.AsIter(ids)
            ).with_output_types(BlockTask)
            sorted_blocks = (
                blocks
                | "SpreadBlocks" >> beam.Reshuffle()
                | "SortByCell" >> beam.ParDo(_Sort(self._title)).with_output_types(tuple[JoinPlace, str, BlockCounts])
            )
            cells = (
                sorted_blocks
                | "AllBlocks" >> beam.WithKeys(None)
                | "GatherBlocks" >> beam.GroupByKey()
                | "GroupCells" >> beam.FlatMap(_grouped).with_output_types(CellsTask)
            )
            pieces = (
                cells
                | "SpreadCells" >> beam.Reshuffle()
                | "CompareCells" >> beam.ParDo(_Compare(self._title)).with_output_types(str)
            )
        return ids, pieces
