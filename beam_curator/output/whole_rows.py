"""Rows that travelled with some of their columns: all others stand in their score part, and are read again."""

from __future__ import annotations

from beam_curator import rows
from beam_curator.errors import CurationError, JobError
from beam_curator.output.added_columns import completed
from beam_curator.output.score_parts import directory_of, read_part
from beam_curator.output.score_steps import Wanted
from beam_curator.samples import SampleBatch


def with_all_columns(batch: SampleBatch, wanted: Wanted) -> SampleBatch:
    """The batch with all columns of its rows: what became of them as it is, facts and scores as they stand.

    Args:
      batch: a scored one, whose rows have their `sample_id` and what became of them.
      wanted: what the job wants of each range.

    Raises:
      StorageError: when they cannot be read, after retries.
      JobError: when they are not there any more.
    """
    if batch.part is None:
        raise CurationError("a batch without a score part has its columns nowhere else: write its scores first")
    directory = directory_of(batch.part)
    stored = read_part(directory, batch.range, wanted.encoder)
    stored = stored and completed(directory, stored, wanted.steps)
    if (
        stored is None
        or stored.lacking(wanted.steps)
        or not stored.batch.rows["sample_id"].equals(batch.rows["sample_id"])
    ):
        raise JobError(f"{batch.part}: the scores of a range are gone that were there: run the same command again")
    table = stored.batch.rows
    for field in batch.rows.schema:
        if rows.role_of(field) == rows.OUTCOME_ROLE:
            table = rows.with_column(table, field.name, batch.rows[field.name], field.type, rows.OUTCOME_ROLE)
    return batch.replace(rows=table)
