"""Conditions in SQL on the columns of rows: whether they fit these columns, and what they are of each row."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from beam_curator import rows
from beam_curator.errors import UsageError
from beam_curator.field_names import PREFIX, is_field
from beam_curator.rules.names import missing_column, visible
from beam_curator.rules.sql_engine import connection, duckdb_module, first_line
from beam_curator.rules.sql_syntax import JSON, Condition, bracketed, in_words


def check_condition(condition: Condition, types: Mapping[str, str]) -> None:
    """Raises UsageError where rows of these columns (`rows.types_of`) do not have the condition's, or it is neither
    true nor false of them."""
    _check(condition, tuple((name, types[name]) for name in visible(types)))


@functools.lru_cache(1000)
def _check(condition: Condition, types: tuple[tuple[str, str], ...]) -> None:
    wanted = _wanted(condition, [name for name, _ in types])
    known = {name: _plain_type(_KNOWN.get(name) or _TYPES[type]) for name, type in types}
    unknown = [name for name in wanted if name not in known]
    complaints = [
        _complaint(condition, {**{name: known[name] for name in wanted if name in known}, **guess})
        for guess in _guesses(unknown)
    ]
    if all(complaints):
        raise UsageError(complaints[0])


_TYPES = {**rows.SCORE_TYPES, rows.NOTHING: pa.null()}


def _guesses(unknown: Sequence[str]) -> list[dict[str, pa.DataType]]:
    """Guesses the types of fields of which no sample was read yet: a condition is wrong if it is under all guesses."""
    kinds = (pa.float64(), pa.string(), pa.bool_())
    if len(unknown) > _GUESSED:
        return [dict.fromkeys(unknown, kind) for kind in kinds]
    return [dict(zip(unknown, guess, strict=True)) for guess in itertools.product(kinds, repeat=len(unknown))]


_GUESSED = 4


def _complaint(condition: Condition, types: Mapping[str, pa.DataType]) -> str | None:
    """Says what is wrong with a condition on columns of these types; None if nothing is."""
    nothing = pa.table({name: pa.nulls(1, type) for name, type in types.items()} or {"sample_id": pa.nulls(1)})
    duckdb = duckdb_module()
    try:
        asked = connection().from_arrow(_with_json(nothing)).project(bracketed(condition.text))
        ((_, kind, *_),) = asked.description
        asked.fetchall()  # a constant that is none, as in aesthetic > 'high', is found when it is evaluated
    except duckdb.Error as error:
        return f"{in_words(condition.text)}: {first_line(error)}"
    if str(kind).upper() not in ("BOOL", "BOOLEAN", '"NULL"', "NULL"):
        return f"{in_words(condition.text)} is neither true nor false: it gives {kind}"
    return None


def _with_json(table: pa.Table) -> pa.Table:
    """The table with its fields of the samples' metadata in one column "json" as well, as json.NAME means them."""
    names = [name for name in table.schema.names if name.startswith(PREFIX)]
    if not names:
        return table
    arrays = [table[name].combine_chunks() for name in names]
    return table.append_column(JSON, pa.StructArray.from_arrays(arrays, [name.removeprefix(PREFIX) for name in names]))


_KNOWN = {field.name: field.type for field in rows.NEW_SCHEMA}


@dataclasses.dataclass(frozen=True)
class Answers:
    """The answers of a condition for n rows.

    Attributes:
      true: where it is true: bool [n].
      null: where it is NULL: bool [n].
      failures: what it cannot be evaluated of, by index, with the reason.
    """

    true: np.ndarray
    null: np.ndarray
    failures: dict[int, str] = dataclasses.field(default_factory=dict)


def evaluate(conditions: Sequence[Condition], table: pa.Table) -> list[Answers]:
    """Evaluates conditions that `check_condition` has nothing against: what each is of the rows."""
    if not len(table):
        return [Answers(np.zeros(0, bool), np.zeros(0, bool)) for _ in conditions]
    there = visible(table.schema.names)
    names = dict.fromkeys(name for one in conditions for name in _wanted(one, there))
    chosen = {name: _plain(rows.column_of(table, name)) for name in names}
    chosen = chosen or {"sample_id": pa.nulls(len(table), pa.string())}
    return _evaluate(conditions, pa.table(chosen))


def _evaluate(conditions: Sequence[Condition], table: pa.Table) -> list[Answers]:
    duckdb = duckdb_module()
    try:
        asked = ", ".join(f"{bracketed(one.text)} AS answer_{number}" for number, one in enumerate(conditions))
        found = connection().from_arrow(_with_json(table)).project(asked).fetchnumpy()
    except duckdb.Error as error:
        return _in_pieces(conditions, table, error)
    masked = [np.ma.asarray(found[name]) for name in list(found)]
    if len(masked) != len(conditions) or any(len(one) != len(table) for one in masked):
        raise AssertionError(f"{len(conditions)} conditions on {len(table)} rows gave {[len(one) for one in masked]}")
    return [Answers(one.filled(False).astype(bool), np.ma.getmaskarray(one)) for one in masked]


def _in_pieces(conditions: Sequence[Condition], table: pa.Table, error: Exception) -> list[Answers]:
    """The answers of less at a time, down to the row that one condition cannot be evaluated of."""
    if len(conditions) > 1:
        return [answer for one in conditions for answer in _evaluate([one], table)]
    if len(table) == 1:
        return [Answers(np.zeros(1, bool), np.zeros(1, bool), {0: f"raised {first_line(error)}"})]
    half = len(table) // 2
    (left,), (right,) = _evaluate(conditions, table.slice(0, half)), _evaluate(conditions, table.slice(half))
    failures = {**left.failures, **{half + index: why for index, why in right.failures.items()}}
    return [Answers(np.append(left.true, right.true), np.append(left.null, right.null), failures)]


def _wanted(condition: Condition, there: Sequence[str]) -> list[str]:
    """The condition's columns as they are spelled in the table, fields that are not there as the condition has them."""
    spelled = {name.lower(): name for name in there}
    found = []
    for column in condition.columns:
        if column in there or (column.lower() not in spelled and is_field(column)):
            found.append(column)
            continue
        if column.lower() not in spelled:
            raise UsageError(f'{in_words(condition.text)} wants a column "{column}" {missing_column(column, there)}')
        found.append(spelled[column.lower()])
    return found


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column if column.type == _plain_type(column.type) else column.cast(_plain_type(column.type))


def _plain_type(type: pa.DataType) -> pa.DataType:
    """Gives the type that a single row has for this one: float64, int64, bool or text; or nothing."""
    if pa.types.is_floating(type):
        return pa.float64()
    if pa.types.is_null(type):
        return type
    if rows.is_number(type):
        return pa.int64()
    return type if pa.types.is_boolean(type) else pa.string()
