"""`--preview`: how many of the scored samples the flags would select, and what would change."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from beam_curator import rows
from beam_curator.commands.summary import counts_told
from beam_curator.field_tally import sum_fields
from beam_curator.first_few import counted
from beam_curator.output.added_columns import read_range
from beam_curator.output.field_store import found_fields
from beam_curator.output.manifest import counts_of, read_manifest, rules_of
from beam_curator.output.outcomes import Summary, SummaryTotal, summarize
from beam_curator.output.plans import PLANNING_THREADS
from beam_curator.output.score_parts import StoredRange
from beam_curator.output.score_steps import Wanted
from beam_curator.output.standing_ledger import StandingLedger
from beam_curator.rule_tally import check_rules
from beam_curator.rules.fields_wanted import FieldsWanted
from beam_curator.samples import SampleBatch, ShardRange
from beam_curator.transforms.fields import add_fields
from beam_curator.transforms.whole_selection import Selection

_READ_AHEAD = 64
"""Ranges that are read at a time."""


@dataclasses.dataclass
class Preview:
    """The counts of a selection that is not written.

    Attributes:
      counted: counts of the samples that are scored.
      unscored: number of ranges that are not scored.
      lacking: number of ranges that lack columns of the wanted scorers.
      standing: whether there is a finished selection to compare with.
      stay: number of samples that are kept now and would be.
      come: number of samples that would be kept and are not now.
      go: number of samples that are kept now and would not be.
    """

    counted: SummaryTotal = dataclasses.field(default_factory=SummaryTotal)
    unscored: int = 0
    lacking: int = 0
    standing: bool = False
    stay: int = 0
    come: int = 0
    go: int = 0

    @property
    def summary(self) -> Summary:
        """The counts of the samples whose scores stand."""
        return self.counted.summary

    def add(self, ledger: StandingLedger | None, batch: SampleBatch) -> None:
        """Counts a batch that is selected to its end."""
        self.counted.add(summarize(batch))
        is_kept = rows.status_is(batch.rows, rows.KEPT)
        was_kept = ledger.kept(batch.range) if ledger is not None else None
        if was_kept is not None and len(was_kept) == len(is_kept):
            self.standing = True
            self.stay += int((is_kept & was_kept).sum())
            self.come += int((is_kept & ~was_kept).sum())
            self.go += int((~is_kept & was_kept).sum())


def preview(directory: str, scores: str, ranges: Sequence[ShardRange], wanted: Wanted, selection: Selection) -> Preview:
    """Selects from the scores in an output directory, beside what stands in `directory`; writes nothing.

    Raises:
      StorageError: when it cannot be read.
      JobError: for a rule that answers for none of the samples, and a list that cannot be read.
      UsageError: for a field that no sample has, and a rule needs.
    """
    found, waiting = Preview(), list[SampleBatch]()
    # A job that was cut off may have left the ledgers of two selections.
    ledger = StandingLedger(directory) if read_manifest(directory) is not None else None
    fields, (first, *others) = selection.fields, selection.plain_steps
    types = _field_types(scores, ranges, fields) if fields else {}
    for stored in _read(scores, ranges, wanted):
        if stored is None:
            found.unscored += 1
        elif stored.lacking(wanted.steps) or stored.lacks_fields:
            found.lacking += 1
        else:
            (selected,) = first([add_fields(stored.batch, scores, types) if fields else stored.batch])
            if others:
                waiting.append(selected.replace(rows=_slim(selected.rows, selection)))
            else:
                found.add(ledger, selected)
    for step in others:
        waiting = step(waiting)
    for batch in waiting:
        found.add(ledger, batch)
    check_rules(found.summary.judged)
    return found


def _read(directory: str, ranges: Sequence[ShardRange], wanted: Wanted) -> Iterator[StoredRange | None]:
    with ThreadPoolExecutor(PLANNING_THREADS) as pool:
        for start in range(0, len(ranges), _READ_AHEAD):
            yield from pool.map(lambda one: read_range(directory, one, wanted), ranges[start : start + _READ_AHEAD])


def _field_types(directory: str, ranges: Sequence[ShardRange], fields: FieldsWanted) -> dict[str, str | None]:
    """The types of the fields that the selection looks at, by column."""
    with ThreadPoolExecutor(PLANNING_THREADS) as pool:
        found = sum_fields(pool.map(lambda one: found_fields(directory, one), ranges))
    fields.check_there(found.types)
    return fields.types(found.types)


def _slim(table: pa.Table, selection: Selection) -> pa.Table:
    """The rows with only the columns that later steps look at, and those that are counted."""
    columns = [*(one.row_column for one in selection.lists), *(top.column for top in selection.tops)]
    wanted = dict.fromkeys(["sample_id", "status", "reason", "images", "caption", *columns])
    return table.select([name for name in wanted if name in table.schema.names])


def describe_preview(
    directory: str, scores: str, ranges: Sequence[ShardRange], wanted: Wanted, selection: Selection
) -> str:
    """Makes the text of a preview: counts, what each rule drops in order and alone, and what would move.

    Raises:
      StorageError, JobError, UsageError: as `preview`.
    """
    found = preview(directory, scores, ranges, wanted, selection)
    lines = ["Preview: nothing is written.", *counts_told(counts_of(found.summary), rules_of(found.summary))]
    if found.standing:
        lines.append(f"  beside the selection that stands: {found.stay:,} stay, {found.come:,} come, {found.go:,} go")
    else:
        lines.append("  no finished selection stands that it could be compared with")
    for count, why in (
        (found.unscored, "not scored yet"),
        (found.lacking, "without columns or fields that are asked for"),
    ):
        if count:
            lines.append(f"  NOTE: {counted(count, 'range')} {why}: not counted here; run without --preview")
    return "\n".join(lines)
