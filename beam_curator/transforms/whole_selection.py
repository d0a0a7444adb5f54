"""Selects the samples that are kept, in the one order in which everything is tried: in a job, and in a preview."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import apache_beam as beam

from beam_curator.output.score_steps import Wanted
from beam_curator.output.whole_rows import with_all_columns
from beam_curator.rules.caption_repeats import CaptionRepeats
from beam_curator.rules.fields_wanted import FieldsWanted
from beam_curator.rules.lists import ListFile
from beam_curator.rules.rule import Rule
from beam_curator.rules.top import Top
from beam_curator.rules.waiting import looked_at, waiting_rows
from beam_curator.samples import SampleBatch
from beam_curator.transforms.caption_repeats import drop_repeated_captions, repeats_in, without_repeats
from beam_curator.transforms.keep_top import KeepTop, keep_top_of
from beam_curator.transforms.listed import found_in_lists, keep_listed, without_listed
from beam_curator.transforms.selection import Select, select_batch

Plain = Callable[[Sequence[SampleBatch]], list[SampleBatch]]
"""A step of a selection on all batches of a job, without Beam."""


@dataclasses.dataclass(frozen=True)
class Selection:
    """All that decides which samples are kept, but for duplicates, in the order in which it is tried.

    Attributes:
      rules: rules on single samples.
      repeats: how often a caption may occur; None for any number of times.
      lists: lists of samples that are to be kept or dropped.
      tops: the columns whose highest values are kept, and how many.
      fields: the fields of the samples' metadata that these look at.
    """

    rules: Sequence[Rule] = ()
    repeats: CaptionRepeats | None = None
    lists: Sequence[ListFile] = ()
    tops: Sequence[Top] = ()
    fields: FieldsWanted = dataclasses.field(default_factory=FieldsWanted)

    @property
    def waits(self) -> bool:
        """Whether anything is decided by all samples together."""
        return bool(self.repeats or self.lists or self.tops)

    @property
    def looked_at(self) -> frozenset[str] | None:
        """The columns that are looked at before the others are read again, in small letters; None for all."""
        return looked_at(self.rules, self.lists, self.tops) if self.waits else None

    @property
    def plain_steps(self) -> list[Plain]:
        """The steps in the order of `WholeSelection`; the first one looks at each batch by itself."""
        rules, repeats, lists, tops = self.rules, self.repeats, self.lists, tuple(self.tops)
        steps: list[Plain] = [lambda batches: [select_batch(batch, rules) for batch in batches]]
        if repeats is not None:
            steps.append(lambda batches: drop_repeated_captions(batches, repeats))
        if lists:
            steps.append(lambda batches: keep_listed(batches, lists))
        if tops:
            steps.append(lambda batches: keep_top_of(batches, tops))
        return steps


def _waiting(batch: SampleBatch, lists: Sequence[ListFile], tops: Sequence[Top]) -> SampleBatch:
    return batch.replace(rows=waiting_rows(batch.rows, lists, tops))


@beam.typehints.with_input_types(SampleBatch)
@beam.typehints.with_output_types(SampleBatch)
class WholeSelection(beam.PTransform):
    """Selects: takes `SampleBatch` whose scores are written, and gives it, selected.

    A runner may have to hold the rows of all samples in memory while repeated captions, lists or the best by a column
    are found. So these rows have only the few columns that are needed then (`waiting_rows`), also in what comes out;
    `WriteShards` reads the other columns again from the score parts, as `ReadRows` does before other steps. Captions
    and the values that lists are about are counted and joined before, while all columns are at hand.

    Args:
      selection: what decides.
      wanted: what the job wants of each range, by which its score parts are read again.
    """

    def __init__(self, selection: Selection, wanted: Wanted) -> None:
        super().__init__()
        self._selection, self._wanted = selection, wanted

    @property
    def facts(self) -> Mapping[str, Any]:
        """This step's part of `lineage.Facts`: how later steps find the columns that rows have left behind."""
        return {"left": self._wanted} if self._selection.waits else {}

    def expand(self, batches: beam.PCollection[SampleBatch]) -> beam.PCollection[SampleBatch]:
        chosen = self._selection
        judged = batches | Select(*chosen.rules)
        if not chosen.waits:
            return judged
        leaving = beam.Map(_waiting, chosen.lists, chosen.tops).with_output_types(SampleBatch)
        selected = judged | "LeaveColumns" >> leaving
        if chosen.repeats is not None:
            selected = without_repeats(selected, chosen.repeats, repeats_in(judged))
        if chosen.lists:
            selected = without_listed(selected, chosen.lists, found_in_lists(judged, chosen.lists))
        return selected | KeepTop(*chosen.tops) if chosen.tops else selected


@beam.typehints.with_input_types(SampleBatch)
@beam.typehints.with_output_types(SampleBatch)
class ReadRows(beam.PTransform):
    """Gives batches all columns of their rows again, from their score parts: takes and gives `SampleBatch`.

    Args:
      wanted: what the job wants of each range.
    """

    def __init__(self, wanted: Wanted) -> None:
        super().__init__()
        self._wanted = wanted

    @property
    def facts(self) -> Mapping[str, Any]:
        """This step's part of `lineage.Facts`: that rows have all their columns again."""
        return {"left": None}

    def expand(self, batches: beam.PCollection[SampleBatch]) -> beam.PCollection[SampleBatch]:
        return batches | beam.Map(with_all_columns, self._wanted).with_output_types(SampleBatch)
