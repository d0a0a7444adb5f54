"""The fields of samples' metadata: scalars of the `.json` member, each a column, with a tally of what was met.

What a column holds here follows from the samples of one range; what it holds in the output, from those of all.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from beam_curator import json_text, rows
from beam_curator.field_names import ALL, PREFIX, URL_DOMAIN, is_carried
from beam_curator.field_tally import (
    FLAG,
    HUGE_INTEGER,
    INTEGER,
    NUMBER,
    TEXT,
    WIDE_INTEGER,
    FieldsFound,
    FieldTally,
    least,
)
from beam_curator.samples import Sample, ShardRange, readable
from beam_curator.sources.sidecars import sidecar_rows
from beam_curator.sources.tar.captions import JSON, MAX_JSON_BYTES

MAX_TEXT_BYTES = 1 << 16
"""A longer text is not carried: half of a url or of a licence would be another one."""

MAX_NAME_CHARACTERS = 200

_URL = "url"

_TOO_LONG = "x" * (MAX_TEXT_BYTES + 1)


def fields_of(range: ShardRange, samples: Sequence[Sample]) -> tuple[pa.Table, FieldsFound]:
    """The fields of a range's samples, with their bytes, that its reading carries.

    Returns:
      A column of each field with a value for each sample, sorted by name, of n rows or without columns; and what was
      met.

    Raises:
      StorageError: when a Parquet beside the shard is there and cannot be read, after retries.
    """
    records = [record_of(sample) for sample in samples] if range.reading.carry else []
    return fields_of_records(range, samples, records)


def fields_of_records(
    range: ShardRange, samples: Sequence[Sample], records: Sequence[Mapping[str, Any] | None]
) -> tuple[pa.Table, FieldsFound]:
    """Makes the columns of fields as `fields_of` does, from what `record_of` gave for each sample; the samples need no
    bytes."""
    carry = range.reading.carry
    if not carry:
        return _table({}), FieldsFound()
    broken = sum(record is None for record in records)
    merged, foreign = _with_sidecar(range, samples, [record or {} for record in records])
    columns, found = _columns(merged, carry)
    sidecars = frozenset() if foreign is None else frozenset({foreign})
    return _table(columns), dataclasses.replace(found, broken=broken, foreign_sidecars=sidecars)


def slim(record: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Drops from a record what is only counted: the rest gives the same columns, and takes little more room than they
    do."""
    if record is None:
        return None
    return {name: value if name == _URL else _slim(value) for name, value in record.items()}


def _slim(value: Any) -> Any:
    if isinstance(value, (list, dict)):
        return ()
    return _TOO_LONG if isinstance(value, str) and len(value) > MAX_TEXT_BYTES else value


def record_of(sample: Sample) -> Mapping[str, Any] | None:
    """Reads the `.json` member of a sample; gives {} where there is none, and None for one that is no JSON object."""
    member = sample.members.get(JSON)
    if member is None or member.data is None:
        return {}
    if member.size > MAX_JSON_BYTES:
        return None
    data = bytes(member.data)
    try:
        found = json_text.loads(data)
    except ValueError:
        try:
            found = json_text.loads(data, parse_int=_long_integer)
        except ValueError:
            return None
    return found if isinstance(found, Mapping) else None


def _long_integer(digits: str) -> Any:
    """Python reads no integer of more than 4,300 digits: it stays text, as all have it that int64 does not hold."""
    return int(digits) if len(digits) < 4000 else digits


def _with_sidecar(
    range: ShardRange, samples: Sequence[Sample], records: list[Mapping[str, Any]]
) -> tuple[list[Mapping[str, Any]], str | None]:
    """The records, with what a Parquet beside the shard says where they do not; and its path if it is another's."""
    keys = [readable(sample.key).rpartition("/")[2] for sample in samples]
    beside, foreign = sidecar_rows(range.shard, keys, [record.get(_URL) for record in records])
    if not beside:
        return records, foreign
    merged: list[Mapping[str, Any]] = []
    for key, record in zip(keys, records, strict=True):
        own = {name: value for name, value in record.items() if value is not None}
        merged.append({**record, **beside.get(key, {}), **own})
    return merged, foreign


def _columns(records: Sequence[Mapping[str, Any]], carry: Sequence[str]) -> tuple[dict[str, pa.Array], FieldsFound]:
    """The values of each field by column, those without any left out; and what was met."""
    names, more = _names(records, carry)
    columns: dict[str, pa.Array] = {}
    tallies: dict[str, FieldTally] = {}
    for column, name in names.items():
        values = [record.get(name) for record in records]
        tallies[column], columns[column] = _quick_column(values) or _column(values)
    urls = columns.get(f"{PREFIX}{_URL}")
    if urls is not None and pa.types.is_string(urls.type):
        hosts = pa.array([url and _host(url) for url in urls.to_pylist()], pa.string())
        there = len(hosts) - hosts.null_count
        if there:
            columns[URL_DOMAIN], tallies[URL_DOMAIN] = hosts, FieldTally(frozenset({TEXT}), there)
    return {name: column for name, column in columns.items() if tallies[name].values}, FieldsFound(tallies, more=more)


def _names(records: Sequence[Mapping[str, Any]], carry: Sequence[str]) -> tuple[dict[str, str], bool]:
    """The fields that are carried, by column; and whether there are more."""
    there: dict[str, str] = {}
    more = False
    for name in dict.fromkeys(itertools.chain.from_iterable(records)):
        if len(name) > MAX_NAME_CHARACTERS:
            more = more or carry == (ALL,)
        elif is_carried(column := f"{PREFIX}{_storable(name)}", carry):
            there[column] = name
    kept = least(there)
    return {column: there[column] for column in kept}, more or len(kept) < len(there)


def _quick_column(values: list[Any]) -> tuple[FieldTally, pa.Array] | None:
    """Does what `_column` does in a tenth of the time where all values are of one kind, as they mostly are; else gives
    None."""
    types = set(map(type, values)) - {type(None)}
    if len(types) != 1 or not types <= _QUICK.keys():
        return None
    kind, type_of_column = _QUICK[types.pop()]
    if kind == TEXT and max(len(text) for text in values if text is not None) > MAX_TEXT_BYTES // 4:
        return None
    try:
        column = pa.array(values, type_of_column, from_pandas=True)  # NaN is nothing
    except (UnicodeError, OverflowError, pa.ArrowInvalid):
        return None
    bounds = pc.min_max(column).as_py() if kind == INTEGER else {"min": 0, "max": 0}
    if bounds["min"] < -_EXACT or bounds["max"] > _EXACT:
        return None
    count = len(column) - column.null_count
    return FieldTally(frozenset({kind} if count else ()), count), column


_QUICK: Mapping[type, tuple[str, pa.DataType]] = {
    str: (TEXT, pa.string()),
    int: (INTEGER, pa.int64()),
    float: (NUMBER, pa.float64()),
    bool: (FLAG, pa.bool_()),
}


def _column(values: Sequence[Any]) -> tuple[FieldTally, pa.Array]:
    """Tallies the values of a field, and puts them into a column that takes all of them."""
    met = [_value(value) for value in values]
    kinds = [one[0] for one in met if one is not None]
    scalars = [kind for kind in kinds if kind not in (_NESTED, _LONG)]
    tally = FieldTally(frozenset(scalars), len(scalars), kinds.count(_NESTED), kinds.count(_LONG))
    there = [None if one is None or one[0] in (_NESTED, _LONG) else _plain(one[1], tally.type) for one in met]
    return tally, pa.array(there, rows.CARRIED_TYPES[tally.type])


_NESTED, _LONG = "nested", "long"


def _value(value: Any) -> tuple[str, Any] | None:
    """A value with its kind; None for nothing, which NaN is as well."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return FLAG, value
    if isinstance(value, int):
        size = abs(value)
        if size > _INT64:
            return (HUGE_INTEGER, str(value)) if size < _LONGEST_INTEGER else (_LONG, None)
        return (INTEGER if size <= _EXACT else WIDE_INTEGER), value
    if isinstance(value, float):
        return NUMBER, value
    if isinstance(value, (list, dict, tuple, bytes)):
        return _NESTED, None
    text = _storable(str(value))
    return (TEXT, text) if len(text.encode()) <= MAX_TEXT_BYTES else (_LONG, None)


_INT64, _EXACT, _LONGEST_INTEGER = (1 << 63) - 1, 1 << 53, 10**4000


def _storable(text: str) -> str:
    """Replaces in a text what UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _host(url: str) -> str | None:
    """The host of a url, in small letters, without port and user; None where it has none."""
    try:
        host = urlsplit(url.strip()).hostname
    except ValueError:
        return None
    return host.rstrip(".") or None if host else None


def _table(columns: Mapping[str, pa.Array]) -> pa.Table:
    """The columns, sorted by name."""
    schema = [rows.field_of(name, columns[name].type, rows.CARRIED) for name in sorted(columns)]
    return pa.table([columns[field.name] for field in schema], schema=pa.schema(schema))


def _plain(value: Any, type: str) -> Any:
    if type == TEXT:
        return rows.text_of(value)
    return float(value) if type == NUMBER else value
