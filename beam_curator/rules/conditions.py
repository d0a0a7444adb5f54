"""Conditions in SQL on the columns of rows: checked to be a plain expression, and evaluated by DuckDB.

DuckDB sees the rows of one batch and nothing else: no files, no network, no extensions, one thread. A condition may be
made of columns, constants, operators and the functions of `FUNCTIONS`, all of which give the same on every machine.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import re
import textwrap
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from beam_curator import rows
from beam_curator.errors import UsageError

if TYPE_CHECKING:
    import duckdb

_FUNCTIONS = """
abs ceil ceiling even exp floor greatest isfinite isinf isnan least ln log log10 log2 mod pow power round sign sqrt
trunc coalesce ifnull nullif
bit_length concat concat_ws contains ends_with instr lcase left length len lower ltrim octet_length position prefix
replace reverse right rtrim split_part starts_with strip_accents strlen strpos substr substring suffix translate
trim ucase upper unicode
regexp_extract regexp_full_match regexp_matches regexp_replace like_escape ilike_escape not_like_escape
not_ilike_escape
levenshtein editdist3 hamming jaccard jaro_similarity jaro_winkler_similarity
list_value list_contains string_split string_split_regex str_split split array_length
+ - * / // % ** ^ || & | << >> ~ ~~ !~~ ~~* !~~* ~~~ ^@ @
"""

FUNCTIONS = frozenset(_FUNCTIONS.split())
"""What a condition may call. Each depends on nothing but its arguments."""

_EXPRESSIONS = (
    "BETWEEN",
    "CASE",
    "CAST",
    "COLUMN_REF",
    "COMPARISON",
    "CONJUNCTION",
    "CONSTANT",
    "FUNCTION",
    "OPERATOR",
)
_WHAT = {
    "SUBQUERY": "a subquery",
    "WINDOW": "a window function",
    "STAR": "a *",
    "PARAMETER": "a parameter",
    "LAMBDA": "a lambda",
    "POSITIONAL_REFERENCE": "a column by its number",
    "COLLATE": "a collation",
}
_CASTS = (
    *("BOOLEAN", "BOOL", "TINYINT", "SMALLINT", "INTEGER", "INT", "BIGINT", "HUGEINT"),
    *("FLOAT", "REAL", "DOUBLE", "DECIMAL", "NUMERIC", "VARCHAR", "TEXT"),
)
_TABLE = "samples"
_LONGEST = 10_000


@dataclasses.dataclass(frozen=True)
class Condition:
    """An expression that is fit to be evaluated.

    Attributes:
      text: as it was given.
      columns: the columns that it names, in the order of their first place.
    """

    text: str
    columns: tuple[str, ...]


def parse_condition(text: str) -> Condition:
    """Reads a condition; nothing is run.

    Raises:
      UsageError: for what is no expression, and for one that may look at more than one row, or that may give another
        value at another time.
    """
    if not isinstance(text, str) or not text.strip():
        raise UsageError('a condition is text in SQL, such as "aesthetic >= 5 AND width > 300"')
    if len(text) > _LONGEST:
        raise UsageError(f"{_told(text)} is longer than {_LONGEST:,} characters")
    tree = _tree(text)
    if tree.get("error"):
        raise UsageError(f"{_told(text)}: {_first_line(tree.get('error_message', 'is no SQL'))}{_hint(text)}")
    statements, plain = tree["statements"], _tree("true")["statements"]
    if len(statements) != 1 or _frame(statements[0]) != _frame(plain[0]):
        raise UsageError(f"{_told(text)}: write one condition alone, as after WHERE, without other clauses")
    (expression,) = statements[0]["node"]["select_list"] or [{}]
    columns: dict[str, None] = {}
    for node in _nodes(expression):
        _check_node(text, node)
        if node.get("class") == "COLUMN_REF":
            columns[_column(text, node["column_names"])] = None
    return Condition(text, tuple(columns))


def check_condition(condition: Condition, types: Mapping[str, str]) -> None:
    """Raises UsageError where rows of these columns (`rows.types_of`) do not have the condition's, or it is neither
    true nor false of them."""
    _check(condition, tuple((name, type) for name, type in types.items() if _is_visible(name)))


@functools.lru_cache(1000)
def _check(condition: Condition, types: tuple[tuple[str, str], ...]) -> None:
    wanted = _wanted(condition, [name for name, _ in types])
    kinds = {name: _plain_type(_KNOWN.get(name) or rows.SCORE_TYPES[type]) for name, type in types}
    empty = pa.table({name: pa.array([], kinds[name]) for name in wanted} or {"uid": pa.array([], pa.string())})
    duckdb = _duckdb()
    try:
        ((_, kind, *_),) = _connection().from_arrow(empty).project(_projection(condition)).description
    except duckdb.Error as error:
        raise UsageError(f"{_told(condition.text)}: {_first_line(error)}") from error
    if str(kind).upper() not in ("BOOL", "BOOLEAN", '"NULL"', "NULL"):
        raise UsageError(f"{_told(condition.text)} is neither true nor false: it gives {kind}")


_KNOWN = {field.name: field.type for field in rows.NEW_SCHEMA}
_HIDDEN = {
    field.name for field in (*rows.NEW_SCHEMA, *rows.OUTCOME) if rows.role_of(field) not in (rows.FACT, rows.CARRIED)
}


def _is_visible(name: str) -> bool:
    """Whether conditions may name a column: not what is for our own use, nor what becomes of samples."""
    return name not in _HIDDEN and "." not in name


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a condition is of n rows.

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
    there = list(filter(_is_visible, table.schema.names))
    names = dict.fromkeys(name for one in conditions for name in _wanted(one, there))
    chosen = {name: _plain(table[name]) for name in names} or {"uid": pa.nulls(len(table), pa.string())}
    return _evaluate(conditions, pa.table(chosen))


def _evaluate(conditions: Sequence[Condition], table: pa.Table) -> list[Answers]:
    duckdb = _duckdb()
    try:
        asked = ", ".join(f"{_projection(one)} AS answer_{number}" for number, one in enumerate(conditions))
        found = _connection().from_arrow(table).project(asked).fetchnumpy()
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
        return [Answers(np.zeros(1, bool), np.zeros(1, bool), {0: f"raised {_first_line(error)}"})]
    half = len(table) // 2
    (left,), (right,) = _evaluate(conditions, table.slice(0, half)), _evaluate(conditions, table.slice(half))
    failures = {**left.failures, **{half + index: why for index, why in right.failures.items()}}
    return [Answers(np.append(left.true, right.true), np.append(left.null, right.null), failures)]


def _wanted(condition: Condition, there: Sequence[str]) -> list[str]:
    """The condition's columns as they are spelled in the table."""
    spelled = {name.lower(): name for name in there}
    found = []
    for column in condition.columns:
        if column.lower() not in spelled:
            near = difflib.get_close_matches(column.lower(), spelled, n=1, cutoff=0.6)
            hint = f": did you mean {spelled[near[0]]}?" if near else f": there are {', '.join(there)}"
            raise UsageError(f'{_told(condition.text)} wants a column "{column}" that the samples do not have{hint}')
        found.append(spelled[column.lower()])
    return found


def _check_node(text: str, node: Mapping[str, Any]) -> None:
    kind = node.get("class")
    if kind not in _EXPRESSIONS:
        what = _WHAT.get(str(kind), f"{kind}".lower().replace("_", " "))
        raise UsageError(f"{_told(text)}: {what} is not for a condition, which looks at one sample alone")
    if kind == "FUNCTION":
        name = node["function_name"].lower()
        if (
            name not in FUNCTIONS
            or node.get("filter")
            or node.get("distinct")
            or (node.get("order_bys") or {}).get("orders")
        ):
            near = difflib.get_close_matches(name, FUNCTIONS, n=1, cutoff=0.75)
            hint = f": did you mean {near[0]}?" if near else ", which knows functions of one sample's values alone"
            raise UsageError(f"{_told(text)}: {name} is not for a condition{hint}")
    if kind == "CAST":
        for name in _names_of_type(node):
            if name not in _CASTS:
                raise UsageError(f"{_told(text)}: a cast to {name} is not for a condition: to numbers or text")


def _names_of_type(node: Mapping[str, Any]) -> list[str]:
    """How the type of a cast is called: where it says so differs between versions of DuckDB."""
    told = node.get("type_expr") or node.get("cast_type") or {}
    name = told.get("type_name") or (told.get("type_info") or {}).get("name") or told.get("id") or told.get("type")
    return [str(name).upper()]


def _column(text: str, names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    if names[0].lower() == "json":
        raise UsageError(
            f"{_told(text)}: fields of a sample's .json ({'.'.join(names)}) are not carried as columns yet; a --scorer "
            "that needs rows can give one"
        )
    raise UsageError(f"{_told(text)}: {'.'.join(names)}: write the column's name alone, {names[-1]}")


def _nodes(tree: Any) -> Iterator[Mapping[str, Any]]:
    """Each expression in the tree, whatever the version of DuckDB calls the places where they are."""
    pending = [tree]
    while pending:
        one = pending.pop()
        if isinstance(one, Mapping):
            if "class" in one:
                yield one
            pending += [value for key, value in one.items() if key not in ("type_expr", "cast_type")]
        elif isinstance(one, list):
            pending += one


def _frame(statement: Mapping[str, Any]) -> Any:
    """All of a statement but what it selects."""
    node = {name: value for name, value in statement["node"].items() if name != "select_list"}
    told = {"node": node, "columns": len(statement["node"].get("select_list") or ())}
    return _without_places(told)


def _without_places(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {name: _without_places(one) for name, one in tree.items() if not name.startswith("query_location")}
    return [_without_places(one) for one in tree] if isinstance(tree, list) else tree


def _tree(text: str) -> Any:
    sql = f"SELECT {_bracketed(text)} FROM {_TABLE}"
    try:
        return json.loads(_connection().execute("SELECT json_serialize_sql(?)", [sql]).fetchall()[0][0])
    except RecursionError:
        return {"error": True, "error_message": "too many levels of brackets"}


def _bracketed(text: str) -> str:
    return f"(\n{text}\n)"  # a comment ends with its line


def _projection(condition: Condition) -> str:
    return _bracketed(condition.text)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column if column.type == _plain_type(column.type) else column.cast(_plain_type(column.type))


def _plain_type(type: pa.DataType) -> pa.DataType:
    """As a single row has it: float64, int64, bool or text."""
    if pa.types.is_floating(type):
        return pa.float64()
    if rows.is_number(type):
        return pa.int64()
    return type if pa.types.is_boolean(type) else pa.string()


_HERE = threading.local()


def _connection() -> duckdb.DuckDBPyConnection:
    """This thread's own database, in memory."""
    if not hasattr(_HERE, "connection"):
        settings: dict[str, Any] = {
            "threads": 1,
            "enable_external_access": False,
            "autoload_known_extensions": False,
            "autoinstall_known_extensions": False,
            "allow_community_extensions": False,
            "lock_configuration": True,
        }
        _HERE.connection = _duckdb().connect(":memory:", config=settings)
    return _HERE.connection


def _duckdb() -> Any:
    import duckdb  # half a second, and most jobs have no condition

    return duckdb


def _told(text: str) -> str:
    return f'condition "{textwrap.shorten(text, 200, placeholder=" ...")}"'


def _first_line(error: Any) -> str:
    line = str(error).split("\n")[0]
    return re.sub(r"^(Binder|Parser|Catalog|Conversion|Invalid Input|Out of Range) Error: ", "", line)


_QUOTED = ("offset",)


def _hint(text: str) -> str:
    named = next((name for name in _QUOTED if re.search(rf'(?<![\w"]){name}(?![\w"])', text, re.IGNORECASE)), None)
    return f'; {named} is a word of SQL: write "{named}" in double quotes for the column' if named else ""
