"""The rows of a batch: one per sample, as an Arrow table whose columns each say their role.

A row begins as "kept"; a step that cannot go on makes it "failed", a rule makes it "dropped", each with its reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_curator.field_names import is_field
from beam_curator.samples import Sample, ShardRange, readable, sample_id

KEPT, DROPPED, FAILED = "kept", "dropped", "failed"

FACT, SCORE, OUTCOME_ROLE, CARRIED, INTERNAL = "fact", "score", "outcome", "carried", "internal"
"""The role of a column. FACT: about the sample itself, such as its width. SCORE: from a scorer. OUTCOME_ROLE: what
became of the sample: status, reason, output shard. CARRIED: a field of the sample's own metadata. INTERNAL: for our own
use; it is in no ledger."""

_ROLE = b"role"

SCORE_TYPES: Mapping[str, pa.DataType] = {"number": pa.float32(), "flag": pa.bool_(), "text": pa.string()}
"""The Arrow type of a score, by `Column.type`."""

CARRIED_TYPES: Mapping[str, pa.DataType] = {
    "flag": pa.bool_(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "text": pa.string(),
}
"""The Arrow type of a field of the samples' metadata, by `FieldTally.type`."""


def field_of(name: str, type: pa.DataType, role: str) -> pa.Field:
    """A column that says its role."""
    return pa.field(name, type, metadata={_ROLE: role.encode()})


SCHEMA = pa.schema(
    [
        field_of("sample_id", pa.string(), FACT),
        field_of("shard", pa.string(), FACT),
        field_of("key", pa.string(), FACT),
        field_of("offset", pa.int64(), FACT),
        field_of("span_bytes", pa.int64(), INTERNAL),
        field_of("status", pa.string(), OUTCOME_ROLE),
        field_of("reason", pa.string(), OUTCOME_ROLE),
        field_of("failure", pa.string(), INTERNAL),
        field_of("same_key", pa.int32(), FACT),
        field_of("image", pa.string(), FACT),
        field_of("images", pa.int32(), FACT),
        field_of("width", pa.int32(), FACT),
        field_of("height", pa.int32(), FACT),
        field_of("format", pa.string(), FACT),
        field_of("bytes", pa.int64(), FACT),
        field_of("sha256", pa.string(), FACT),
        field_of("phash", pa.string(), FACT),
        field_of("caption", pa.string(), FACT),
    ]
)
"""The columns of every row, before scores; docs/formats.md says what each holds. `span_bytes` is as in `Sample`;
`failure` says why the sample itself cannot be used, by any scorer."""

OPTIONAL_FACTS = pa.schema(
    [
        field_of("phash256", pa.string(), FACT),
        field_of("texture", pa.int32(), FACT),
        field_of("colours", pa.string(), FACT),
        field_of("phash256_cropped", pa.string(), FACT),
        field_of("phash256_clipped", pa.string(), FACT),
    ]
)
"""Facts that score parts of earlier releases lack. They stand behind `phash` in the rows of ranges whose score part has
them, and only there."""

_PLACE = SCHEMA.get_field_index("phash") + 1

NEW_SCHEMA = pa.schema([*list(SCHEMA)[:_PLACE], *OPTIONAL_FACTS, *list(SCHEMA)[_PLACE:]])
"""The columns of rows that are embedded now."""

OUTCOME = pa.schema(
    [
        field_of("duplicate_of", pa.string(), OUTCOME_ROLE),
        field_of("output_shard", pa.string(), OUTCOME_ROLE),
        field_of("output_key", pa.string(), OUTCOME_ROLE),
    ]
)
"""The columns that the ledger adds: where the sample went."""

DUPLICATE = pa.schema(
    [
        field_of("duplicate_kind", pa.string(), OUTCOME_ROLE),
        field_of("duplicate_distance", pa.float64(), OUTCOME_ROLE),
    ]
)
"""The columns that the ledger of a job that looks for duplicates has beside `duplicate_of`: one of
`defaults.DUPLICATE_KINDS`, and the cosine, or how many bits they are apart; null for exact copies."""

_KNOWN = {field.name: field for field in (*SCHEMA, *OPTIONAL_FACTS, *OUTCOME, *DUPLICATE)}

REPEATING = ("shard", "status", "reason", "image", "format", "output_shard", "duplicate_kind")
"""The columns in which many rows say the same: a dictionary in Parquet makes these smaller, and all others larger."""


def role_of(field: pa.Field) -> str:
    """The role of a column; one that does not say it, of a step of the user's own, is a score."""
    role = (field.metadata or {}).get(_ROLE)
    if role is not None:
        return role.decode()
    return _KNOWN[field.name].metadata[_ROLE].decode() if field.name in _KNOWN else SCORE


def fields_there(schema: pa.Schema) -> list[pa.Field]:
    """The fields of `SCHEMA`, and in their places those of `OPTIONAL_FACTS` that this schema has."""
    return [field for field in NEW_SCHEMA if field.name in SCHEMA.names or has_fact(schema, field.name)]


def has_fact(schema: pa.Schema, name: str) -> bool:
    """Tells whether this schema has one of `OPTIONAL_FACTS`; a score that an earlier release had under its name is
    none."""
    return name in schema.names and role_of(schema.field(name)) == FACT


NOTHING = "nothing"
"""The type of a column of nulls: a rule looks at this field, and no sample has it."""


def types_of(schema: pa.Schema) -> dict[str, str]:
    """Gives the type of each column, by the names of `SCORE_TYPES`, or `NOTHING`."""
    found = {}
    for field in schema:
        if pa.types.is_boolean(field.type):
            found[field.name] = "flag"
        elif pa.types.is_null(field.type):
            found[field.name] = NOTHING
        else:
            found[field.name] = "number" if is_number(field.type) else "text"
    return found


def column_of(table: pa.Table, name: str) -> pa.ChunkedArray:
    """A column of rows; a field of the samples' metadata that is not among the columns is null in each row."""
    if name in table.schema.names or not is_field(name):
        return table[name]
    return pa.chunked_array([pa.nulls(len(table))])


def numbers_in(table: pa.Table, name: str) -> np.ndarray:
    """The numbers of a column, NaN for null: float64 [n]. They are compared with thresholds in float64, as a rule that
    is called with a single row does; NumPy would round a threshold to float32 beside float32 scores."""
    column = column_of(table, name)
    return np.full(len(table), np.nan) if pa.types.is_null(column.type) else column.to_numpy().astype(np.float64)


def names_with(table: pa.Table, *roles: str) -> list[str]:
    """The names of the columns with these roles, in their order."""
    return [field.name for field in table.schema if role_of(field) in roles]


def score_names(table: pa.Table) -> list[str]:
    """The names of the score columns."""
    return names_with(table, SCORE)


def field_names(table: pa.Table) -> list[str]:
    """The names of the columns that are fields of the samples' metadata."""
    return [name for name in names_with(table, CARRIED) if is_field(name)]


def without_fields(table: pa.Table) -> pa.Table:
    """The rows without the columns that are fields of the samples' metadata."""
    names = field_names(table)
    return table.drop_columns(names) if names else table


def with_fields(table: pa.Table, fields: pa.Table) -> pa.Table:
    """The n rows with more columns behind their own.

    Args:
      table: n rows.
      fields: n rows of other columns; a column of the same name in `table` is replaced.
    """
    standing = [name for name in fields.schema.names if name in table.schema.names]
    table = table.drop_columns(standing) if standing else table
    for field in fields.schema:
        table = table.append_column(field, fields[field.name])
    return table


def text_of(value: Any) -> str:
    """A scalar as text, the same for numbers that are equal: 1 and 1.0 are "1"."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) <= 1 << 53:
        return str(int(value))
    return repr(value) if isinstance(value, float) else str(value)


def as_carried(column: pa.ChunkedArray, type: str) -> pa.ChunkedArray:
    """A column of fields as one of `CARRIED_TYPES` that holds all its values."""
    wanted = CARRIED_TYPES[type]
    if column.type == wanted:
        return column
    if type != "text" or pa.types.is_null(column.type):
        return column.cast(wanted)
    texts = [None if value is None else text_of(value) for value in column.to_pylist()]
    return pa.chunked_array([pa.array(texts, wanted)])


def is_number(type: pa.DataType) -> bool:
    """Tells whether a column of this type holds numbers."""
    return pa.types.is_floating(type) or pa.types.is_integer(type)


def from_samples(
    range: ShardRange,
    samples: Sequence[Sample],
    captions: Sequence[str | None],
    images: Sequence[tuple[str | None, int | None]] = (),
) -> pa.Table:
    """Rows for n freshly read samples: kept, but for those with a `failure`.

    Args:
      range: the range of the samples.
      samples: the n samples.
      captions: n texts; None for a sample without one.
      images: for each of n samples the extension of the member that is scored and how many of its members are images;
        empty where nobody looked.
    """
    keys = [readable(sample.key) for sample in samples]
    columns: dict[str, Any] = {
        "sample_id": ids_of(range, keys, [s.offset for s in samples], [s.headers_crc32 for s in samples]),
        "shard": [range.url] * len(samples),
        "key": keys,
        "offset": [sample.offset for sample in samples],
        "span_bytes": [sample.span_bytes for sample in samples],
        "status": [FAILED if sample.failure else KEPT for sample in samples],
        "reason": [sample.failure for sample in samples],
        "failure": [sample.failure for sample in samples],
        "same_key": [sample.same_key for sample in samples],
        "image": [image and readable(image) for image, _ in images] or None,
        "images": [count for _, count in images] or None,
        "caption": captions,
    }
    nothing = [None] * len(samples)
    return pa.table(
        [pa.array(columns.get(field.name) or nothing, field.type) for field in SCHEMA],
        schema=SCHEMA,
    )


def ids_of(
    range: ShardRange, keys: Sequence[str], offsets: Sequence[int], headers_crc32: Sequence[int | None]
) -> list[str]:
    """The `sample_id` of each of n samples of a range, from n of each argument of `samples.sample_id`."""
    places = zip(offsets, keys, headers_crc32, strict=True)
    return [sample_id(range.shard, offset, key, crc) for offset, key, crc in places]


def from_dicts(dicts: Sequence[Mapping[str, Any]], fields: Sequence[pa.Field] = ()) -> pa.Table:
    """Rows from one mapping a row.

    Args:
      dicts: the rows, all with the same names of columns; at least one.
      fields: type and role of columns by these names. Other columns that are not our own are taken for scores, or by
        their name for fields of metadata, with a type that holds their values.
    """
    known = {**_KNOWN, **{field.name: field for field in fields}}
    columns = {name: [row[name] for row in dicts] for name in dicts[0]}
    schema = [known.get(name) or _score_field(name, values) for name, values in columns.items()]
    return pa.table([pa.array(columns[field.name], field.type) for field in schema], schema=pa.schema(schema))


def _score_field(name: str, values: Sequence[Any]) -> pa.Field:
    there = [value for value in values if value is not None]
    if is_field(name):
        return field_of(name, _carried_type(there), CARRIED)
    if there and all(isinstance(value, (bool, np.bool_)) for value in there):
        return field_of(name, pa.bool_(), SCORE)
    return field_of(name, pa.string() if any(isinstance(value, str) for value in there) else pa.float32(), SCORE)


def _carried_type(there: Sequence[Any]) -> pa.DataType:
    kinds = {type(value) for value in there}
    if len(kinds) == 1 and kinds <= {bool, int}:
        return pa.bool_() if bool in kinds else pa.int64()
    return pa.float64() if kinds and kinds <= {int, float} else pa.string()


def with_column(rows: pa.Table, name: str, values: Any, type: pa.DataType | None = None, role: str = SCORE) -> pa.Table:
    """The rows with this column set or added."""
    index = rows.schema.get_field_index(name)
    if index < 0:
        field = _KNOWN.get(name) or field_of(name, type or pa.float32(), role)
        widened = rows.append_column(field, _arrow(values, field.type))
        return _in_order(widened) if name in OPTIONAL_FACTS.names else widened
    field = rows.schema.field(index)
    return rows.set_column(index, field, _arrow(values, field.type))


def _arrow(values: Any, type: pa.DataType) -> pa.Array | pa.ChunkedArray:
    return values.cast(type) if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, type)


def _in_order(rows: pa.Table) -> pa.Table:
    """The rows with their facts in the order of `NEW_SCHEMA`, then all other columns."""
    facts = [field.name for field in fields_there(rows.schema) if field.name in rows.schema.names]
    return rows.select([*facts, *(name for name in rows.schema.names if name not in facts)])


def stacked(tables: Sequence[pa.Table]) -> pa.Table:
    """Stacks tables; where some have an optional fact, others have null there."""
    there = [name for name in OPTIONAL_FACTS.names if any(has_fact(table.schema, name) for table in tables)]
    filled = []
    for table in tables:
        for name in there:
            if not has_fact(table.schema, name):
                table = with_column(table, name, [None] * len(table))
        filled.append(table)
    return pa.concat_tables(filled)


def with_failures(rows: pa.Table, failures: Mapping[int, str], of: str = "") -> pa.Table:
    """The rows with those at these indices failed, each for its reason; a row that failed before keeps its own.

    Args:
      rows: n rows.
      failures: why, by index.
      of: the scorer that failed on them; "" where the samples themselves cannot be used.
    """
    if of and not failures:
        return rows
    status, reason = rows["status"].to_pylist(), rows["reason"].to_pylist()
    name = failure_column(of)
    noted = rows[name].to_pylist() if name in rows.schema.names else [None] * len(rows)
    for index, why in failures.items():
        noted[index] = noted[index] or why
        if status[index] != FAILED:
            status[index], reason[index] = FAILED, why
    rows = with_column(with_column(rows, "status", status), "reason", reason)
    return with_column(rows, name, noted, pa.string(), INTERNAL)


def failure_column(scorer: str) -> str:
    """The column that says why this scorer failed on samples; of "", why the samples themselves cannot be used."""
    return f"{scorer}.failure" if scorer else "failure"


def unselected(rows: pa.Table, scorers: Sequence[str] = ()) -> pa.Table:
    """The rows before any rule: kept, but for samples that cannot be used, or that one of these scorers failed on."""
    failures = [rows[name] for name in map(failure_column, ("", *scorers)) if name in rows.schema.names]
    reason = pc.coalesce(*failures) if failures else pa.nulls(len(rows), pa.string())
    status = pc.if_else(reason.is_null(), KEPT, FAILED)
    return with_column(with_column(rows, "status", status), "reason", reason)


def unusable(rows: pa.Table) -> np.ndarray:
    """Tells which samples cannot be used, whatever scores them: bool [n]."""
    return ~np.asarray(rows["failure"].is_null())


def with_score(rows: pa.Table, name: str, scores: Any, type: pa.DataType | None = None) -> pa.Table:
    """The rows with a score column, float32 by default; null for samples that cannot be used, and for NaN."""
    type = type or pa.float32()
    failed = unusable(rows)
    if pa.types.is_floating(type):
        numbers = np.array([np.nan if one is None else one for one in scores], np.float32)
        values = pa.array(numbers, type, mask=failed | np.isnan(numbers))
    else:
        values = pa.array([None if out else one for one, out in zip(scores, failed, strict=True)], type)
    return with_column(rows, name, values, type)


def status_is(rows: pa.Table, status: str) -> np.ndarray:
    """Tells which rows have this status: bool [n]."""
    return np.asarray(pc.equal(rows["status"], status).fill_null(False))


def without_duplicates(
    rows: pa.Table, indices: Sequence[int], of: Sequence[str], kind: Sequence[str], distance: Any
) -> pa.Table:
    """The rows with those at these indices dropped as duplicates; all have the columns that say so.

    Args:
      rows: n rows.
      indices: int [m], the rows to drop.
      of: for each of them, the `sample_id` of the duplicate that is kept.
      kind: for each, one of `defaults.DUPLICATE_KINDS`.
      distance: float64 [m], the `duplicate_distance` of each, NaN for null.
    """
    columns: dict[str, list[Any]] = {name: rows[name].to_pylist() for name in ("status", "reason")}
    for name in ("duplicate_of", *DUPLICATE.names):
        columns[name] = rows[name].to_pylist() if name in rows.schema.names else [None] * len(rows)
    for index, kept, name, far in zip(indices, of, kind, np.asarray(distance).tolist(), strict=True):
        columns["status"][index], columns["reason"][index] = DROPPED, f"duplicate: {name}"
        columns["duplicate_of"][index], columns["duplicate_kind"][index] = kept, name
        columns["duplicate_distance"][index] = None if np.isnan(far) else far
    for name, values in columns.items():
        rows = with_column(rows, name, values)
    return rows
