"""KeepTop: the best samples by a column, a fraction of all or so many."""

from __future__ import annotations

import collections
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import apache_beam as beam

from beam_curator.errors import UsageError
from beam_curator.given_paths import named_if_any
from beam_curator.rule_tally import sum_tallies
from beam_curator.rules.top import LEVELS, Search, Top, digit_counts, keep_top, top_count, top_fraction, values_of
from beam_curator.samples import SampleBatch
from beam_curator.transforms.beams_own import Once, check_one_window, total_aside
from beam_curator.transforms.checkpointing import WriteScores
from beam_curator.transforms.lineage import check_before_duplicates
from beam_curator.transforms.spilling import Spillable


def _values(batch: SampleBatch, tops: tuple[Top, ...]) -> Spillable:
    return Spillable(values_of(batch.rows, tops))


def _counts(values: Spillable, search: Search) -> collections.Counter[int]:
    return digit_counts(values.value, search)


def _add(counters: Iterable[collections.Counter[int]]) -> collections.Counter[int]:
    total: collections.Counter[int] = collections.Counter()
    for one in counters:
        total.update(one)
    return total


def _step(search: Search, counts: collections.Counter[int], top: Top) -> Search:
    return search.after(top, counts)


def _keep(batch: SampleBatch, search: Search, tops: tuple[Top, ...]) -> SampleBatch:
    kept, tallies = keep_top(batch.rows, tops, search.thresholds)
    return batch.replace(rows=kept, judged=sum_tallies((batch.judged, tallies)))


def keep_top_of(batches: Sequence[SampleBatch], tops: tuple[Top, ...]) -> list[SampleBatch]:
    """Does to all batches of a job what `KeepTop` does, without Beam."""
    values, search = [values_of(batch.rows, tops) for batch in batches], Search()
    for top in tops:
        for _ in range(LEVELS):
            search = _step(search, _add(digit_counts(one, search) for one in values), top)
    return [_keep(batch, search, tops) for batch in batches]


@beam.typehints.with_input_types(SampleBatch)
@beam.typehints.with_output_types(SampleBatch)
class KeepTop(beam.PTransform):
    """Keeps the samples with the highest values of a column: takes `SampleBatch`, selected, and gives it.

    `KeepTop("similarity=0.3")` keeps the best 30 %: of N samples those with at least the value at place int(0.3 N) of
    the descending order, counted from 0, as DataComp does. `KeepTop("1000000 aesthetic")` keeps the best million.
    Samples equal to the last one that is kept are kept as well; a sample without a value is dropped. Several arguments
    are tried in their order, each on what those before it kept.

    Thresholds are found from counts (see `beam_curator.rules.top`), so that only numbers and counts are shuffled, no
    rows: they are exact, and the same for every order and number of workers.

    Args:
      *given: each `COLUMN=FRACTION`, or `N COLUMN`.
      output: the output directory, the same as that of `WriteShards`: batches whose scores are not written yet are
        written there first, so that embeddings are not shuffled. None to keep them in the batches.

    Raises:
      UsageError: an argument is neither.
    """

    def __init__(self, *given: str | Top, output: str | os.PathLike[str] | None = None) -> None:
        super().__init__()
        self.tops = tuple(one if isinstance(one, Top) else _parsed(one) for one in given)
        if not self.tops:
            raise UsageError("KeepTop: say of which column, such as KeepTop('similarity=0.3')")
        self.output = named_if_any(output, "output")

    @property
    def facts(self) -> Mapping[str, Any]:
        """This step's part of `lineage.Facts`: the names of its rules."""
        return {"rules": [top.name for top in self.tops]}

    def expand(self, batches: beam.PCollection[SampleBatch]) -> beam.PCollection[SampleBatch]:
        check_one_window(batches, "KeepTop")
        check_before_duplicates(batches, "KeepTop")
        if self.output is not None:
            batches |= "WriteScores" >> WriteScores(self.output)
        values = batches | "Values" >> beam.Map(_values, self.tops).with_output_types(Spillable)
        search: Any = Search()
        for number, top in enumerate(self.tops, 1):
            for level in range(LEVELS):
                step = f"{number}.{level + 1}"
                counting = beam.Map(_counts, search).with_output_types(collections.Counter)
                total = total_aside(_add, values | f"Count {step}" >> counting, f"Sum {step}")
                found = batches.pipeline | f"Find {step}" >> Once(Search, _step, search, total, top)
                search = beam.pvalue.AsSingleton(found)
        return batches | "Keep" >> beam.Map(_keep, search, self.tops).with_output_types(SampleBatch)

    def display_data(self) -> dict[str, Any]:
        return {"keeps": ", ".join(f"{top.in_words} of {top.column}" for top in self.tops)}


def _parsed(text: str) -> Top:
    if not isinstance(text, str) or (len(text.split()) < 2 and "=" not in text):
        raise UsageError(f"KeepTop({text!r}): write 'COLUMN=FRACTION' or 'N COLUMN', such as KeepTop('similarity=0.3')")
    return top_fraction(text) if "=" in text else top_count(text)
