"""The ledger: one row for every sample that was in the input, and the counts that must balance."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from beam_curator import rows
from beam_curator.identities import ModelIdentity
from beam_curator.output.outcomes import Summary
from beam_curator.reading import DEFAULT_READING, Reading
from beam_curator.samples import ShardRange
from beam_curator.storage import files

LEDGER_DIRECTORY = "samples"


def ledger_name(range: ShardRange) -> str:
    """Where a range's ledger rows are, under the output directory."""
    return f"{LEDGER_DIRECTORY}/{range.name}.parquet"


def ledger_table(table: pa.Table, output_shard: pa.Array, output_key: pa.Array) -> pa.Table:
    """A batch's rows in the ledger's columns: facts and outcome, scores, then where the sample went; what a step of the
    user's own set as `duplicate_of` stays."""
    scores = rows.names_with(table, rows.SCORE, rows.CARRIED)
    facts = [field.name for field in rows.fields_there(table.schema) if rows.role_of(field) != rows.INTERNAL]
    placed = {"output_shard": output_shard, "output_key": output_key}
    found = table.select([*facts, *scores])
    told = [field for field in rows.DUPLICATE if field.name in table.schema.names]
    for field in (rows.OUTCOME.field("duplicate_of"), *told, *list(rows.OUTCOME)[1:]):
        there = placed.get(field.name)
        if there is None and field.name in table.schema.names:
            there = table[field.name].cast(field.type)
        found = found.append_column(field, pa.nulls(len(table), field.type) if there is None else there)
    return found


def write_table(directory: str, name: str, table: pa.Table) -> None:
    """Writes rows as DIRECTORY/NAME, atomically.

    Raises:
      StorageError: when they cannot be written, after retries.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", use_dictionary=list(rows.REPEATING))
    files.write_bytes(directory, name, sink.getvalue().to_pybytes())


def read_table(url: str) -> pa.Table:
    """The rows of a file that `write_table` wrote.

    Raises:
      StorageError: when it cannot be read, after retries.
      OSError, ArrowException: when it is damaged.
    """
    return pq.read_table(pa.BufferReader(files.read_bytes(url)))


@dataclasses.dataclass(frozen=True)
class LedgerPart:
    """A ledger file that was written: its name under the output directory, its range's score part and, if it has one,
    plan, its counts, the models that gave its scores, and how the range was read."""

    name: str
    part: str
    plan: str | None
    summary: Summary
    models: Mapping[str, ModelIdentity]
    reading: Reading = DEFAULT_READING
