"""The fields of samples' metadata, kept beside the scores: one Parquet file for each range, `fields/RANGE.parquet`.

It has a row for each of the part's, with a column of each field as this range's values have it, and says what was met.
What a column holds in the output follows from all ranges together, so files stay as they are when others join.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from beam_curator import rows
from beam_curator.errors import StorageError
from beam_curator.field_names import ALL, PREFIX
from beam_curator.field_tally import FieldsFound, FieldTally
from beam_curator.output import checked_parquet
from beam_curator.samples import SampleBatch, ShardRange
from beam_curator.storage import files, urls
from beam_curator.storage.retrying import retried

FIELDS_DIRECTORY = "fields"

FIELDS_VERSION = 1
"""Goes up when the same samples would give other fields than before."""

_METADATA = b"beam_curator"
_SHA256 = f"{PREFIX}sha256"


def fields_name(range: ShardRange) -> str:
    """The file's place under the output directory."""
    return f"{FIELDS_DIRECTORY}/{range.name}.parquet"


def is_fields(schema: pa.Schema) -> bool:
    """Tells whether a file with this schema holds fields."""
    return b'"fields_version"' in (schema.metadata or {}).get(_METADATA, b"")


def write_fields(directory: str, batch: SampleBatch, fingerprint: str) -> FieldsFound:
    """Writes the fields that the rows of a batch have, also where they have none; gives what was met of them.

    Args:
      directory: the output directory.
      batch: with `fields`, or without where its rows went through steps of the user's own; its rows may know the
        `sha256` of the images, with which one that is among the fields is compared.
      fingerprint: `range_fingerprint`.

    Raises:
      StorageError: when it cannot be written, after retries.
    """
    table = batch.rows.select(rows.field_names(batch.rows))
    found = with_hashes(batch.fields or _found_in(table), batch.rows)
    told = fields_told(batch.range, found, fingerprint)
    if not table.schema.names:
        table = pa.table({"": pa.nulls(len(batch))})  # so that it has as many rows
    table = table.replace_schema_metadata({_METADATA: json.dumps(told, sort_keys=True)})
    files.write_bytes(directory, fields_name(batch.range), checked_parquet.encoded(table))
    return found


def fields_told(range: ShardRange, found: FieldsFound, fingerprint: str) -> dict[str, Any]:
    """Makes, as JSON has it, what is written of the fields that were met in a range."""
    carry = list(range.reading.carry)
    return {"fields_version": FIELDS_VERSION, "range": fingerprint, "carry": carry, "found": found.as_json}


def with_hashes(found: FieldsFound, table: pa.Table) -> FieldsFound:
    """Adds to what was met: how many samples say a sha256 of their image, and how many of these say another than is
    known."""
    if _SHA256 not in table.schema.names or not pa.types.is_string(table.schema.field(_SHA256).type):
        return found
    pairs = zip(table[_SHA256].to_pylist(), table["sha256"].to_pylist(), strict=True)
    said = [(theirs.lower(), ours) for theirs, ours in pairs if theirs is not None and ours is not None]
    values = {**vars(found), "hashes": len(said), "other_hashes": sum(theirs != ours for theirs, ours in said)}
    return FieldsFound(**values)


def _found_in(table: pa.Table) -> FieldsFound:
    """Counts fields from columns, where nothing is known beyond the values themselves."""
    types = rows.CARRIED_TYPES.items()
    kinds = {field.name: next(kind for kind, type in types if type == field.type) for field in table.schema}
    counts = {name: len(table) - table[name].null_count for name in table.schema.names}
    return FieldsFound({name: FieldTally(frozenset({kind}), counts[name]) for name, kind in kinds.items()})


def found_fields(directory: str, range: ShardRange, fingerprint: str | None = None) -> FieldsFound | None:
    """Reads what was met of a range's fields; None if it is not there as this range's reading carries them.

    Without a fingerprint, it is what stands there, whatever the shard was.

    Raises:
      StorageError: when it cannot be read, after retries.
    """
    url = _url(directory, range)
    if not files.exists(url):
        return None
    told = _told(url)
    try:
        return as_carried(told, range, fingerprint)
    except checked_parquet.NOT_OURS:
        return None  # as where `_told` finds nothing


def as_carried(told: Mapping[str, Any], range: ShardRange, fingerprint: str | None = None) -> FieldsFound | None:
    """Reads back what `fields_told` made, as far as a range's reading carries it; None if it is of another range,
    reading or version."""
    if told.get("fields_version") != FIELDS_VERSION or fingerprint not in (None, told.get("range")):
        return None
    wanted, stored, found = range.reading.carry, tuple(told["carry"]), FieldsFound.read(told["found"])
    if not wanted:
        return None
    if wanted == stored:
        return found
    if stored == (ALL,):
        return None if found.more else found.only(wanted)
    return found.only(wanted) if set(wanted) <= set(stored) else None


@retried
def _told(url: str) -> Mapping[str, Any]:
    try:
        with files.open_for_reading(url) as file:
            schema = pq.read_schema(file)
        checked_parquet.check_seal(schema)
        return json.loads((schema.metadata or {}).get(_METADATA, b"{}"))
    except StorageError:
        raise
    except checked_parquet.NOT_OURS:
        return {}  # not a whole one of ours: it is made again and replaced


def read_fields(directory: str, range: ShardRange, types: Mapping[str, str]) -> pa.Table:
    """Columns of a range's fields, in the order of `types`; null where the range has none.

    Args:
      directory: the output directory.
      range: which one.
      types: what each column holds, by the names of `rows.CARRIED_TYPES`.

    Raises:
      StorageError: when they cannot be read, after retries, or are damaged.
    """
    url = _url(directory, range)
    content = files.read_bytes(url)
    with checked_parquet.told_if_damaged(url):
        file = checked_parquet.opened(content)
        there = [name for name in types if name in file.schema_arrow.names]
        found, count = file.read(columns=there), file.metadata.num_rows
    return in_types(found, types, count)


def in_types(found: pa.Table, types: Mapping[str, str], count: int) -> pa.Table:
    """Columns of fields, as each holds in the whole job what the values of all ranges are together.

    Args:
      found: `count` rows with some of the columns, as one range has them.
      types: what each column holds.
      count: how many rows there are.
    """
    nothing = pa.nulls(count)
    columns = {name: found[name] if name in found.schema.names else pa.chunked_array([nothing]) for name in types}
    schema = [rows.field_of(name, rows.CARRIED_TYPES[type], rows.CARRIED) for name, type in types.items()]
    arrays = [rows.as_carried(columns[name], type) for name, type in types.items()]
    return pa.table(arrays, schema=pa.schema(schema))


@dataclasses.dataclass(frozen=True)
class CarriedFields:
    """The fields of a range's samples, as the whole job carries them: what the columns hold, and where they are read.

    Attributes:
      types: what each column holds, by the names of `rows.CARRIED_TYPES`.
      directory: the output directory that has them; None where the range has none of them.
    """

    types: Mapping[str, str] = dataclasses.field(default_factory=dict)
    directory: str | None = None

    def read(self, range: ShardRange, count: int) -> pa.Table:
        """The columns of all `count` samples.

        Raises:
          StorageError: as `read_fields`.
        """
        if self.directory is None or not self.types:
            return in_types(pa.table({}), self.types, count)
        return read_fields(self.directory, range, self.types)

    def read_rows(self, range: ShardRange, indices: NDArray[np.int64]) -> pa.Table:
        """The columns of the samples with these indices."""
        if self.directory is None or not self.types:
            return in_types(pa.table({}), self.types, len(indices))
        return read_fields(self.directory, range, self.types).take(pa.array(indices))


def _url(directory: str, range: ShardRange) -> str:
    return urls.join(directory, *fields_name(range).split("/"))
