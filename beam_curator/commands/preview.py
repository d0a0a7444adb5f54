"""What `--preview` tells: what the flags would select of the scores that stand, and what would move."""

from __future__ import annotations

import collections
import dataclasses
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_curator import rows
from beam_curator.commands.summary import PLANNING_THREADS, counts_told
from beam_curator.field_tally import sum_fields
from beam_curator.first_few import counted
from beam_curator.output.added_columns import read_range
from beam_curator.output.field_store import found_fields
from beam_curator.output.ledger import ledger_name
from beam_curator.output.manifest import counts_of, rules_of
from beam_curator.output.outcomes import Summary, summarize
from beam_curator.output.plans import KeptPlans
from beam_curator.output.score_parts import StoredRange
from beam_curator.output.score_steps import Wanted
from beam_curator.reading import Reading
from beam_curator.rule_tally import check_rules, sum_tallies
from beam_curator.rules.caption_repeats import CaptionRepeats, caption_ids, drop_repeated, repeated
from beam_curator.rules.fields_wanted import FieldsWanted
from beam_curator.rules.lists import ID, ListFile, apply_lists, candidates, ids_of
from beam_curator.rules.rule import Rule
from beam_curator.rules.top import LEVELS, Search, Top, digit_counts, keep_top, values_of
from beam_curator.samples import SampleBatch, Shard, ShardRange
from beam_curator.sources.list_files import entries_of
from beam_curator.sources.ranges import plan_ranges
from beam_curator.sources.tar.planning import range_bytes_of
from beam_curator.storage import files
from beam_curator.transforms.fields import add_fields
from beam_curator.transforms.selection import select_batch

_READ_AHEAD = 64
"""Ranges that are read at a time."""


@dataclasses.dataclass
class Preview:
    """What a selection would give.

    Attributes:
      summary: the counts of the samples whose scores stand.
      unscored: ranges that nothing stands of.
      lacking: ranges that lack columns of the wanted scorers.
      standing: whether there is a selection to compare with.
      stay: samples that are kept now and would be.
      come: samples that would be kept, and are not now.
      go: samples that are kept now, and would not be.
    """

    summary: Summary = dataclasses.field(default_factory=Summary)
    unscored: int = 0
    lacking: int = 0
    standing: bool = False
    stay: int = 0
    come: int = 0
    go: int = 0

    def add(self, directory: str, batch: SampleBatch) -> None:
        """Counts a batch that is selected to its end."""
        self.summary += summarize(batch)
        is_kept = rows.status_is(batch.rows, rows.KEPT)
        was_kept = _kept_before(directory, batch)
        if was_kept is not None and len(was_kept) == len(is_kept):
            self.standing = True
            self.stay += int((is_kept & was_kept).sum())
            self.come += int((is_kept & ~was_kept).sum())
            self.go += int((~is_kept & was_kept).sum())


def preview(
    directory: str,
    scores: str,
    ranges: Sequence[ShardRange],
    wanted: Wanted,
    rules: Sequence[Rule],
    repeats: CaptionRepeats | None,
    lists: Sequence[ListFile],
    tops: Sequence[Top],
    fields: FieldsWanted,
) -> Preview:
    """Selects from the scores in an output directory, beside what stands in `directory`; writes nothing. Lists are in
    memory, one at a time.

    Raises:
      StorageError: when it cannot be read.
      JobError: for a rule that answers for none of the samples.
      UsageError: for a field that no sample has, and a rule needs.
    """
    found, waiting = Preview(), list[SampleBatch]()
    types = _field_types(scores, ranges, fields) if fields else {}
    for stored in _read(scores, ranges, wanted):
        if stored is None:
            found.unscored += 1
        elif stored.lacking(wanted.steps) or stored.lacks_fields:
            found.lacking += 1
        else:
            selected = select_batch(add_fields(stored.batch, scores, types) if fields else stored.batch, rules)
            if repeats or lists or tops:
                waiting.append(selected.replace(rows=_slim(selected.rows, lists, tops)))
            else:
                found.add(directory, selected)
    if repeats is not None:
        waiting = _without_repeated(waiting, repeats)
    for one in lists:
        waiting = _kept_of_list(waiting, one)
    for batch in _kept_of_top(waiting, tuple(tops)):
        found.add(directory, batch)
    check_rules(found.summary.judged)
    return found


def _read(directory: str, ranges: Sequence[ShardRange], wanted: Wanted) -> Iterator[StoredRange | None]:
    with ThreadPoolExecutor(PLANNING_THREADS) as pool:
        for start in range(0, len(ranges), _READ_AHEAD):
            yield from pool.map(lambda one: read_range(directory, one, wanted), ranges[start : start + _READ_AHEAD])


def _field_types(directory: str, ranges: Sequence[ShardRange], fields: FieldsWanted) -> dict[str, str | None]:
    """What the columns of fields hold that the selection looks at."""
    with ThreadPoolExecutor(PLANNING_THREADS) as pool:
        found = sum_fields(pool.map(lambda one: found_fields(directory, one), ranges))
    fields.check_there(found.types)
    return fields.types(found.types)


def _slim(table: pa.Table, lists: Sequence[ListFile], tops: Sequence[Top]) -> pa.Table:
    """What is needed to look into lists, to find the best, and to count."""
    columns = [*(one.row_column for one in lists), *(top.column for top in tops)]
    wanted = dict.fromkeys(["sample_id", "status", "reason", "images", "caption", *columns])
    return table.select([name for name in wanted if name in table.schema.names])


def _without_repeated(batches: Sequence[SampleBatch], rule: CaptionRepeats) -> list[SampleBatch]:
    captions = [caption_ids(batch.rows) for batch in batches]
    found = []
    for batch, (indices, _), often in zip(
        batches, captions, repeated([ids for _, ids in captions], rule.most), strict=True
    ):
        kept, tallies = drop_repeated(batch.rows, rule, indices[often])
        found.append(batch.replace(rows=kept, judged=sum_tallies((batch.judged, tallies))))
    return found


def _kept_of_list(batches: Sequence[SampleBatch], one: ListFile) -> list[SampleBatch]:
    listed = np.concatenate([np.empty(0, ID), *(ids_of(texts) for texts in entries_of(one))])
    found = []
    for batch in batches:
        indices, ids = candidates(batch.rows, one)
        kept, tallies = apply_lists(batch.rows, [one], {0: indices[np.isin(ids, listed)]})
        found.append(batch.replace(rows=kept, judged=sum_tallies((batch.judged, tallies))))
    return found


def _kept_of_top(batches: Sequence[SampleBatch], tops: tuple[Top, ...]) -> Iterator[SampleBatch]:
    values = [values_of(batch.rows, tops) for batch in batches]
    search = Search()
    for top in tops:
        for _ in range(LEVELS):
            counts = sum((digit_counts(one, search) for one in values), start=collections.Counter[int]())
            search = search.after(top, counts)
    for batch in batches:
        kept, tallies = keep_top(batch.rows, tops, search.thresholds)
        yield batch.replace(rows=kept, judged=sum_tallies((batch.judged, tallies)))


def _kept_before(directory: str, batch: SampleBatch) -> np.ndarray | None:
    """Which samples of a range the standing ledger keeps: bool [n]; None where there is no ledger of it."""
    url = files.join(directory, *ledger_name(batch.range).split("/"))
    if not files.exists(url):
        return None
    table = pq.read_table(io.BytesIO(files.read_bytes(url)), columns=["status"])
    return rows.status_is(table, rows.KEPT)


def describe_preview(
    directory: str,
    scores: str,
    shards: Sequence[Shard],
    range_mb: float,
    reading: Reading,
    wanted: Wanted,
    rules: Sequence[Rule],
    repeats: CaptionRepeats | None,
    lists: Sequence[ListFile],
    tops: Sequence[Top],
    fields: FieldsWanted,
) -> str:
    """What is printed: counts, what each rule drops in order and alone, and what would move.

    Raises:
      StorageError, JobError, UsageError: as `preview`.
    """
    plans = KeptPlans(scores, read_only=True)
    with ThreadPoolExecutor(PLANNING_THREADS) as pool:
        planned = pool.map(lambda shard: list(plan_ranges(shard, range_bytes_of(range_mb), plans, reading)), shards)
        ranges = [one for of_shard in planned for one in of_shard]
    found = preview(directory, scores, ranges, wanted, rules, repeats, lists, tops, fields)
    lines = ["Preview: nothing is written.", *counts_told(counts_of(found.summary), rules_of(found.summary))]
    if found.standing:
        lines.append(f"  beside the selection that stands: {found.stay:,} stay, {found.come:,} come, {found.go:,} go")
    else:
        lines.append("  no selection stands that it could be compared with")
    for count, why in (
        (found.unscored, "not scored yet"),
        (found.lacking, "without columns or fields that are asked for"),
    ):
        if count:
            lines.append(f"  NOTE: {counted(count, 'range')} {why}: not counted here; run without --preview")
    return "\n".join(lines)
