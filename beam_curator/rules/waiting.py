"""Rows that wait until something is known of all samples together: with no more than what is looked at then."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from beam_curator import rows
from beam_curator.rules.lists import ListFile
from beam_curator.rules.rule import Rule, TableRule
from beam_curator.rules.top import Top

COUNTED = ("sample_id", "status", "reason", "images")
"""The columns that counts of outcomes look at."""


def looked_at(rules: Sequence[Rule], lists: Sequence[ListFile], tops: Sequence[Top]) -> frozenset[str] | None:
    """The columns that a selection looks at, in small letters; None where a rule may look at any."""
    found = {*COUNTED, "caption", *(one.row_column for one in lists), *(top.column for top in tops)}
    for rule in rules:
        columns = rule.looked_at if isinstance(rule, TableRule) else None
        if columns is None:
            return None
        found.update(columns)
    return frozenset(name.lower() for name in found)


def waiting_rows(table: pa.Table, lists: Sequence[ListFile] = (), tops: Sequence[Top] = ()) -> pa.Table:
    """Rows with the columns that the last steps of a selection look at, in some ten bytes each.

    Of the caption, and of what lists are of, only whether there is something stays: what it was is told to others
    before (`caption_ids`, `candidates`).

    Args:
      table: n rows.
      lists: of samples that stay or go.
      tops: which of the samples that are left are the best.
    """
    values = dict.fromkeys([*COUNTED, *(top.column for top in tops)])
    waiting = table.select([name for name in values if name in table.schema.names])
    for name in dict.fromkeys(["caption", *(one.row_column for one in lists)]):
        if name in table.schema.names and name not in values:
            field = table.schema.field(name)
            waiting = waiting.append_column(rows.field_of(name, pa.string(), rows.role_of(field)), _hints(table[name]))
    return waiting


def _hints(column: pa.ChunkedArray) -> pa.Array:
    """Reduces each value to whether there is one, and a text to whether it says anything: null, "", " " or "x"."""
    return pa.array([_hint(value) for value in column.to_pylist()], pa.string())


def _hint(value: object) -> str | None:
    if value is None:
        return None
    text = str(value)
    return "x" if text.strip() else text[:1]
