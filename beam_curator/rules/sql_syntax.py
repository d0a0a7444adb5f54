"""The syntax of conditions: SQL, of which all but a plain expression on one row is refused before it runs.

A condition may be made of columns, constants, operators and the functions of `FUNCTIONS`, all of which give the same on
every machine.
"""

from __future__ import annotations

import collections
import dataclasses
import difflib
import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from beam_curator.errors import UsageError
from beam_curator.field_names import PREFIX
from beam_curator.rules.sql_engine import connection, duckdb_module, first_line

_FUNCTIONS = """
abs ceil ceiling even exp floor greatest isfinite isinf isnan least ln log log10 log2 mod pow power round sign sqrt
trunc coalesce ifnull nullif
bit_length concat concat_ws contains ends_with instr lcase left length len lower ltrim octet_length position prefix
replace reverse right rtrim split_part starts_with strip_accents strlen strpos substr substring suffix translate
trim ucase upper unicode
regexp_extract regexp_full_match regexp_matches regexp_replace like_escape ilike_escape not_like_escape
not_ilike_escape
list_value list_contains string_split string_split_regex str_split split array_length
+ - * / // % ** ^ || & | << >> ~~ !~~ ~~* !~~* ~~~ ^@ @
"""

FUNCTIONS = frozenset(_FUNCTIONS.split())
"""The functions that a condition may call. Each depends on nothing but its arguments, and gives the same in all
versions of DuckDB: distances of texts, as levenshtein, count bytes in DuckDB 1, and characters in 2."""

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
JSON = PREFIX.rstrip(".")
"""The name of a sample's metadata in conditions."""

_TABLE = "samples"
_LONGEST = 10_000


@dataclasses.dataclass(frozen=True)
class Condition:
    """An expression that is fit to be evaluated.

    Attributes:
      text: as it was given.
      columns: the columns that it names, in the order of their first place; fields of the samples' metadata as
        "json.NAME".
      provided: those of them for which it provides where there is no value: they stand within coalesce alone, before
        its last argument.
    """

    text: str
    columns: tuple[str, ...]
    provided: frozenset[str] = frozenset()


def parse_condition(text: str) -> Condition:
    """Reads a condition; nothing is run.

    Raises:
      UsageError: for what is no expression, and for one that may look at more than one row, or that may give another
        value at another time.
    """
    if not isinstance(text, str) or not text.strip():
        raise UsageError('a condition is text in SQL, such as "aesthetic >= 5 AND width > 300"')
    if "\0" in text or text != text.encode("utf-8", "replace").decode("utf-8"):
        raise UsageError("a condition holds what is no text in UTF-8")
    if len(text) > _LONGEST:
        raise UsageError(
            f"{in_words(text)} is longer than {_LONGEST:,} characters: lists of samples are for --allow and --block"
        )
    tree = _tree(bracketed(text))
    if tree.get("error"):
        raise UsageError(f"{in_words(text)}: {first_line(tree.get('error_message', 'is no SQL'))}{_hint(text)}")
    _check_operators(text)
    statements, plain = tree["statements"], _tree(bracketed("true"))["statements"]
    # "a) OR (b" is whole within brackets alone.
    if len(statements) != 1 or _frame(statements[0]) != _frame(plain[0]) or _tree(text).get("error"):
        raise UsageError(f"{in_words(text)}: write one condition alone, as after WHERE, without other clauses")
    (expression,) = statements[0]["node"]["select_list"] or [{}]
    named: collections.Counter[str] = collections.Counter()
    provided: collections.Counter[str] = collections.Counter()
    for node in _nodes(expression):
        _check_node(text, node)
        if node.get("class") == "COLUMN_REF":
            named[_column(text, node["column_names"])] += 1
        if node.get("type") == "OPERATOR_COALESCE":
            first = [one for one in node["children"][:-1] if one.get("class") == "COLUMN_REF"]
            provided.update(_column(text, one["column_names"]) for one in first)
    return Condition(text, tuple(named), frozenset(name for name in named if provided[name] == named[name]))


def _check_operators(text: str) -> None:
    """Refuses ~ and what is made of it, which the tree does not tell from functions: it looks for a whole match in
    DuckDB 1, and for one anywhere in 2."""
    words = text.encode()
    for start, kind in duckdb_module().tokenize(text):
        operator = re.match(rb"(?:(?!--|/\*)[-+*/<>=~!@#%^&|`?])*", words[start:])
        if kind == duckdb_module().token_type.operator and operator and b"~" in operator[0]:
            raise UsageError(
                f"{in_words(text)}: {operator[0].decode()} means one thing in one version of DuckDB and another in the "
                "next: write LIKE, ILIKE, regexp_matches (a match anywhere in the text) or regexp_full_match"
            )


def _check_node(text: str, node: Mapping[str, Any]) -> None:
    kind = node.get("class")
    if kind not in _EXPRESSIONS:
        what = _WHAT.get(str(kind), f"{kind}".lower().replace("_", " "))
        raise UsageError(f"{in_words(text)}: {what} is not for a condition, which looks at one sample alone")
    if kind == "FUNCTION":
        name = node["function_name"].lower()
        if name not in FUNCTIONS:
            near = difflib.get_close_matches(name, FUNCTIONS, n=1, cutoff=0.75)
            hint = f": did you mean {near[0]}?" if near else ", which knows functions of one sample's values alone"
            raise UsageError(f"{in_words(text)}: {name} is not for a condition{hint}")
        if node.get("filter") or node.get("distinct") or (node.get("order_bys") or {}).get("orders"):
            raise UsageError(
                f"{in_words(text)}: {name} takes its arguments alone: neither DISTINCT nor FILTER nor ORDER BY"
            )
    if kind == "CAST":
        for name in _names_of_type(node):
            if name not in _CASTS:
                raise UsageError(f"{in_words(text)}: a cast to {name} is not for a condition: to numbers or text")


def _names_of_type(node: Mapping[str, Any]) -> list[str]:
    """Names the type of a cast: where it stands differs between versions of DuckDB."""
    told = node.get("type_expr") or node.get("cast_type") or {}
    name = told.get("type_name") or (told.get("type_info") or {}).get("name") or told.get("id") or told.get("type")
    return [str(name).upper()]


def _column(text: str, names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    if names[0].lower() == JSON and len(names) == 2:
        return f"{PREFIX}{names[1]}"
    if names[0].lower() == JSON:
        raise UsageError(
            f"{in_words(text)}: {'.'.join(names)}: what is nested in a sample's .json is not carried; write "
            f'json."{".".join(names[1:])}" for a field of this name'
        )
    raise UsageError(f"{in_words(text)}: {'.'.join(names)}: write the column's name alone, {names[-1]}")


def _nodes(tree: Any) -> Iterator[Mapping[str, Any]]:
    """Yields each expression in the tree, whatever the version of DuckDB calls the places where they are."""
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
    """Gives all of a statement but what it selects."""
    node = {name: value for name, value in statement["node"].items() if name != "select_list"}
    told = {"node": node, "columns": len(statement["node"].get("select_list") or ())}
    return _without_places(told)


def _without_places(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {name: _without_places(one) for name, one in tree.items() if not name.startswith("query_location")}
    return [_without_places(one) for one in tree] if isinstance(tree, list) else tree


def _tree(expression: str) -> Any:
    sql = f"SELECT {expression}\nFROM {_TABLE}"  # a comment ends with its line
    try:
        return json.loads(connection().execute("SELECT json_serialize_sql(?)", [sql]).fetchall()[0][0])
    except RecursionError:
        return {"error": True, "error_message": "too many levels of brackets"}


def bracketed(text: str) -> str:
    """A condition as one term."""
    return f"(\n{text}\n)"


def in_words(text: str) -> str:
    """Names a condition in messages."""
    return f'condition "{textwrap.shorten(text, 200, placeholder=" ...")}"'


_QUOTED = ("offset",)


def _hint(text: str) -> str:
    named = next((name for name in _QUOTED if re.search(rf'(?<![\w"]){name}(?![\w"])', text, re.IGNORECASE)), None)
    return f'; {named} is a word of SQL: write "{named}" in double quotes for the column' if named else ""
