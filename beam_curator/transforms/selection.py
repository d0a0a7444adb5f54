"""Select: rules that decide which samples are kept, each with its name as the reason in the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import apache_beam as beam

from beam_curator.rule_tally import sum_tallies
from beam_curator.rules.judging import judge, labels
from beam_curator.rules.rule import Rule
from beam_curator.rules.selecting import rules_of
from beam_curator.samples import SampleBatch
from beam_curator.transforms.display import display_of_rules
from beam_curator.transforms.lineage import check_before_duplicates


def select_batch(batch: SampleBatch, rules: Sequence[Rule]) -> SampleBatch:
    """The batch with its rows selected, and each rule's tally added to those of an earlier `Select`."""
    selected, tallies = judge(batch.rows, rules)
    return batch.replace(rows=selected, judged=sum_tallies((batch.judged, tallies)))


@beam.typehints.with_input_types(SampleBatch)
@beam.typehints.with_output_types(SampleBatch)
class Select(beam.PTransform):
    """Applies rules: takes `SampleBatch` with scores, gives it with each row kept, dropped or failed.

    Dropped samples stay in the batch as rows, for the ledger.

    Args:
      *given: the rules, in the order in which they are tried: `AtLeast`, `Where` and others of ours, functions of a
        row, or comparisons as text, such as "aesthetic >= 5" and "nsfw < 0.5" (see `beam_curator.rules.comparison`).

    Raises:
      UsageError: an argument is no rule; or, when the pipeline is built, a `DropDuplicates` comes before.
    """

    def __init__(self, *given: Rule | str) -> None:
        super().__init__()
        self.rules = rules_of(given)

    @property
    def facts(self) -> Mapping[str, Any]:
        """This step's part of `lineage.Facts`: the names of its rules."""
        return {"rules": labels(self.rules)}

    def expand(self, batches: beam.PCollection[SampleBatch]) -> beam.PCollection[SampleBatch]:
        check_before_duplicates(batches, "Select")
        rules = self.rules
        return batches | beam.Map(select_batch, rules).with_output_types(SampleBatch)

    def display_data(self) -> dict[str, Any]:
        return display_of_rules(self.rules)
