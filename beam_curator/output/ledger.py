"""The ledger: one row for every sample that was in the input, and the counts that must balance."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from beam_curator import rows
from beam_curator.field_names import is_field
from beam_curator.identities import ModelIdentity
from beam_curator.output.checked_parquet import told_if_damaged, with_whole_texts
from beam_curator.output.column_names import from_files, in_files
from beam_curator.output.outcomes import Summary
from beam_curator.reading import DEFAULT_READING, Reading
from beam_curator.rules.caption_repeats import CAPTION_REPEATS
from beam_curator.samples import ShardRange
from beam_curator.storage import files
from beam_curator.storage.retrying import retried

LEDGER_DIRECTORY = "samples"

RANGES_PER_FILE = 1000
"""So many ranges have a file of the ledger together in a job of many."""

FILE_EACH = 10_000
"""Up to so many ranges each has a file of its own."""

PARQUET: Mapping[str, Any] = {"compression": "zstd", "use_dictionary": list(rows.REPEATING)}
"""The encoding of the ledger's files."""

_OF_MANY = re.compile(r"ledger-\d{6,}\.parquet")


def ranges_per_file(ranges: int, wanted: int | None = None) -> int:
    """Says how many ranges each file of the ledger but the last holds.

    Args:
      ranges: how many the job has.
      wanted: what the user wants; None for what suits the tools that read it.
    """
    if wanted is not None:
        return wanted
    return 1 if ranges <= FILE_EACH else RANGES_PER_FILE


def ledger_name(range: ShardRange) -> str:
    """Names the file, under the output directory, of a range's ledger rows, where each range has a file of its own."""
    return f"{LEDGER_DIRECTORY}/{range.name}.parquet"


def name_of_many(index: int) -> str:
    """Names the `index`-th file, under the output directory, of those that hold the rows of many ranges."""
    return f"{LEDGER_DIRECTORY}/ledger-{index:06d}.parquet"


def is_of_many(path: str) -> bool:
    """Tells whether a file of the ledger is called as those of many ranges are."""
    return _OF_MANY.fullmatch(path.rpartition("/")[2]) is not None


def ledger_table(table: pa.Table, output_shard: pa.Array, output_key: pa.Array) -> pa.Table:
    """A batch's rows in the ledger's columns: facts and outcome, scores, how often the caption comes, where that was
    counted, then where the sample went; what a step of the
    user's own set as `duplicate_of` stays. Fields of the samples' metadata come behind, from where they are kept."""
    scores = [name for name in rows.names_with(table, rows.SCORE, rows.CARRIED) if not is_field(name)]
    facts = [field.name for field in rows.fields_there(table.schema) if rows.role_of(field) != rows.INTERNAL]
    placed = {"output_shard": output_shard, "output_key": output_key}
    found = table.select([*facts, *scores, *(name for name in table.schema.names if name == CAPTION_REPEATS)])
    told = [field for field in rows.DUPLICATE if field.name in table.schema.names]
    for field in (rows.OUTCOME.field("duplicate_of"), *told, *list(rows.OUTCOME)[1:]):
        there = placed.get(field.name)
        if there is None and field.name in table.schema.names:
            there = table[field.name].cast(field.type)
        found = found.append_column(field, pa.nulls(len(table), field.type) if there is None else there)
    return found


INPUT_KEY = "input_key"
"""The name of a sample's key in the input, in the rows beside a tar and in the records in it: `key` is the one in that
tar."""


def rows_beside_tar(table: pa.Table) -> pa.Table:
    """Rows of the ledger as an output shard has them: `key` is the key in the tar beside them, by which its readers
    join, `input_key` that in the input."""
    first = ["output_key", *(name for name in table.schema.names if name != "output_key")]
    names = {"output_key": "key", "key": INPUT_KEY}
    return table.select(first).rename_columns([names.get(name, name) for name in first])


def rows_of_ledger(table: pa.Table) -> pa.Table:
    """The inverse of `rows_beside_tar`, but for the order of columns."""
    names = {"key": "output_key", INPUT_KEY: "key"}
    return table.rename_columns([names.get(name, name) for name in table.schema.names])


def write_table(directory: str, name: str, table: pa.Table) -> None:
    """Writes rows as DIRECTORY/NAME, atomically.

    Raises:
      StorageError: when they cannot be written, after retries.
    """
    files.write_bytes(directory, name, encoded(table))


def encoded(table: pa.Table) -> bytes:
    """Rows as a file holds them."""
    sink = pa.BufferOutputStream()
    pq.write_table(in_files(table), sink, **PARQUET)
    return sink.getvalue().to_pybytes()


def read_table(url: str) -> pa.Table:
    """The rows of a file that `write_table` wrote.

    Raises:
      StorageError: when it cannot be read, after retries, or is damaged.
    """
    content = files.read_bytes(url)
    with told_if_damaged(url):
        return from_files(with_whole_texts(pq.read_table(pa.BufferReader(content))))


def with_ids(table: pa.Table) -> pa.Table:
    """Rows of a ledger with their `sample_id`; those that an earlier release wrote have their `uid` under that name."""
    if "sample_id" in table.schema.names or "uid" not in table.schema.names:
        return table
    return table.rename_columns(["sample_id" if name == "uid" else name for name in table.schema.names])


@retried
def has_ids(url: str) -> bool:
    """Tells whether a file of the ledger has the ids that samples have now; one that is damaged may have them.

    Raises:
      StorageError: when it cannot be read, after retries.
    """
    with files.open_for_reading(url) as file:
        try:
            names = pq.read_schema(file).names
        except pa.ArrowException:
            return True
    return "sample_id" in names or "uid" not in names


@dataclasses.dataclass(frozen=True)
class LedgerPart:
    """The ledger of a range that was written.

    Attributes:
      summary: the counts of its rows, and when they were written (`outcomes.recount`).
      models: identities of the models, as `SampleBatch.models`.
      reading: how the range was read.
      ranges_per_file: how many ranges each file of the ledger holds.
    """

    summary: Summary
    models: Mapping[str, ModelIdentity]
    reading: Reading = DEFAULT_READING
    ranges_per_file: int = 1
