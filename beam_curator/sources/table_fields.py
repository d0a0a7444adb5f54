"""Rows of a table that names images: the caption of each, and its other columns as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from beam_curator.errors import UsageError
from beam_curator.sources.columns import CAPTION_NAMES
from beam_curator.sources.json_fields import json_member
from beam_curator.sources.table_files import Table, value_of


def texts_of_rows(path: str, table: Table, caption_column: str, without: str = "") -> Iterator[dict[str, str]]:
    """Makes, for each row, the texts of members by extension: "txt", its caption, and "json", its other columns.

    A caption that is a number is its text, as it is written where the table is of texts; what is no caption stays among
    the other columns.

    Args:
      path: the table, for errors.
      table: its columns and rows.
      caption_column: the column of captions; "" to find it by name: one with a text.
      without: a column that is left out.

    Raises:
      UsageError: when there is no such column.
    """
    if caption_column and caption_column not in table.columns:
        told = ", ".join(table.columns) or "none"
        raise UsageError(f"--caption_column {caption_column}: {path} has no such column; its columns are {told}")
    column = caption_column or _caption_name(table)
    return (_texts_of_row(table, row, column, without) for row in table.rows)


def _texts_of_row(table: Table, row: Mapping[str, Any], column: str | None, without: str) -> dict[str, str]:
    caption = _caption(row.get(column)) if column else None
    texts = {} if caption is None else {"txt": caption}
    is_told = caption is not None or (column is not None and row.get(column) is None)
    names = [name for name in table.columns if name != without and not (name == column and is_told)]
    fields = {name: row.get(name) for name in names if not isinstance(row.get(name), bytes)}
    if fields:
        values = {name: value_of(value) for name, value in fields.items()} if table.of_texts else fields
        texts["json"] = json_member(values).decode()
    return texts


def _caption(value: Any) -> str | None:
    return str(value) if isinstance(value, (str, int, float)) else None


def _caption_name(table: Table) -> str | None:
    known = (one for name in CAPTION_NAMES for one in table.columns if one.lower() == name)
    return next((one for one in known if any(isinstance(row.get(one), str) for row in table.rows)), None)
