"""Sums over all ranges and all output shards: combined on many workers, of fixed size."""

from __future__ import annotations

from collections.abc import Iterable

import apache_beam as beam

from beam_curator.output.ledger import LedgerPart
from beam_curator.output.outcomes import Summary, SummaryTotal
from beam_curator.output.output_shard import WrittenShard
from beam_curator.output.totals import LedgerTotal, WrittenTotal


@beam.typehints.with_input_types(Summary)
@beam.typehints.with_output_types(Summary)
class SumSummaries(beam.CombineFn):
    """The counts of all batches."""

    def create_accumulator(self) -> SummaryTotal:
        return SummaryTotal()

    def add_input(self, total: SummaryTotal, one: Summary) -> SummaryTotal:
        total.add(one)
        return total

    def merge_accumulators(self, totals: Iterable[SummaryTotal]) -> SummaryTotal:
        together = SummaryTotal()
        for one in totals:
            together.add(one.summary)
        return together

    def extract_output(self, total: SummaryTotal) -> Summary:
        return total.summary


@beam.typehints.with_input_types(LedgerPart)
@beam.typehints.with_output_types(LedgerTotal)
class SumLedger(beam.CombineFn):
    """Sums `LedgerPart`s."""

    def create_accumulator(self) -> LedgerTotal:
        return LedgerTotal()

    def add_input(self, total: LedgerTotal, part: LedgerPart) -> LedgerTotal:
        total.add(part)
        return total

    def merge_accumulators(self, totals: Iterable[LedgerTotal]) -> LedgerTotal:
        together = LedgerTotal()
        for one in totals:
            together.add_all(one)
        return together

    def extract_output(self, total: LedgerTotal) -> LedgerTotal:
        return total


@beam.typehints.with_input_types(WrittenShard)
@beam.typehints.with_output_types(WrittenTotal)
class SumWritten(beam.CombineFn):
    """Sums `WrittenShard`s."""

    def create_accumulator(self) -> WrittenTotal:
        return WrittenTotal()

    def add_input(self, total: WrittenTotal, shard: WrittenShard) -> WrittenTotal:
        total.add(shard)
        return total

    def merge_accumulators(self, totals: Iterable[WrittenTotal]) -> WrittenTotal:
        together = WrittenTotal()
        for one in totals:
            together.add_all(one)
        return together

    def extract_output(self, total: WrittenTotal) -> WrittenTotal:
        return total
