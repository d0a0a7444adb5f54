"""All that decides which samples are kept, in the one order in which it is tried: by a job, and by a preview."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import apache_beam as beam

from beam_curator.rules.caption_repeats import CaptionRepeats
from beam_curator.rules.fields_wanted import FieldsWanted
from beam_curator.rules.lists import ListFile
from beam_curator.rules.rule import Rule
from beam_curator.rules.top import Top
from beam_curator.samples import SampleBatch
from beam_curator.transforms.caption_repeats import DropRepeatedCaptions, drop_repeated_captions
from beam_curator.transforms.keep_top import KeepTop, keep_top_of
from beam_curator.transforms.listed import KeepListed, keep_listed
from beam_curator.transforms.selection import Select, select_batch


@dataclasses.dataclass(frozen=True)
class Step:
    """One step of a selection.

    Attributes:
      transform: takes `SampleBatch`, and gives it.
      plain: the same of all batches of a job, without Beam.
    """

    transform: beam.PTransform
    plain: Callable[[Sequence[SampleBatch]], list[SampleBatch]]


@dataclasses.dataclass(frozen=True)
class Selection:
    """What decides which samples are kept, but for duplicates.

    Attributes:
      rules: what decides on a sample by itself.
      repeats: how often a caption may come; None for any number of times.
      lists: of samples that stay or go.
      tops: which of the samples that are left are the best.
      fields: which fields of the samples' metadata these look at.
    """

    rules: Sequence[Rule] = ()
    repeats: CaptionRepeats | None = None
    lists: Sequence[ListFile] = ()
    tops: Sequence[Top] = ()
    fields: FieldsWanted = dataclasses.field(default_factory=FieldsWanted)

    @property
    def steps(self) -> list[Step]:
        """The steps in their order; the first one looks at each batch by itself."""
        rules, repeats, lists, tops = self.rules, self.repeats, self.lists, tuple(self.tops)
        steps = [Step(Select(*rules), lambda batches: [select_batch(batch, rules) for batch in batches])]
        if repeats is not None:
            steps.append(Step(DropRepeatedCaptions(repeats), lambda batches: drop_repeated_captions(batches, repeats)))
        if lists:
            steps.append(Step(KeepListed(*lists), lambda batches: keep_listed(batches, lists)))
        if tops:
            steps.append(Step(KeepTop(*tops), lambda batches: keep_top_of(batches, tops)))
        return steps
