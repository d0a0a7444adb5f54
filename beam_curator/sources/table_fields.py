"""A row of a table that names images: its caption, and its other columns as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from beam_curator.errors import UsageError
from beam_curator.sources.columns import CAPTION_NAMES
from beam_curator.sources.json_fields import json_member


def texts_of_row(
    path: str, columns: Sequence[str], row: Mapping[str, Any], caption_column: str, without: str = ""
) -> dict[str, str]:
    """The texts of a row's members by extension: "txt", its caption, and "json", its other columns.

    Args:
      path: the table, for errors.
      columns: its columns, in order.
      row: one row; columns may be missing.
      caption_column: the column of captions; "" to find it by name.
      without: a column that is left out.

    Raises:
      UsageError: when there is no such column.
    """
    if caption_column and caption_column not in columns:
        told = ", ".join(columns) or "none"
        raise UsageError(f"--caption_column {caption_column}: {path} has no such column; its columns are {told}")
    caption = caption_column or _caption_name(columns, row)
    texts = {}
    if caption and row.get(caption) is not None:
        texts["txt"] = str(row[caption])
    names = [name for name in columns if name not in (caption, without) and not isinstance(row.get(name), bytes)]
    fields = {name: row.get(name) for name in names}
    if fields:
        texts["json"] = json_member(fields).decode()
    return texts


def _caption_name(columns: Sequence[str], row: Mapping[str, Any]) -> str | None:
    texts = [name for name in columns if row.get(name) is None or isinstance(row[name], str)]
    return next((one for name in CAPTION_NAMES for one in texts if one.lower() == name), None)
