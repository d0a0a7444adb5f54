"""Tables that name files: CSV, TSV, JSON lines, Parquet, and text with a path on each line."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from beam_curator.errors import StorageError, UsageError
from beam_curator.storage import files

PARQUET_ENDINGS = (".parquet", ".pq")
LIST_ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".txt", ".lst")

PATH_NAMES = ("path", "file_name", "filename", "filepath", "file_path", "file", "image_path", "image_file", "image")
URL_NAMES = ("url", "image_url", "uri", "URL")

MAX_LIST_BYTES = 1 << 30
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?")
_CELL_CHARACTERS = 1 << 24

csv.field_size_limit(_CELL_CHARACTERS)


def path_column(names: Sequence[str], named: str = "") -> str | None:
    """The column of paths or urls: the one that is named, else the first known one, in any case."""
    if named:
        return named if named in names else None
    return next((one for known in (*PATH_NAMES, *URL_NAMES) for one in names if one.lower() == known.lower()), None)


def rows_of_table(path: str, flag: str = "--input") -> tuple[list[str], list[Mapping[str, Any]]]:
    """The columns of a table, and its rows; texts of CSV that are numbers are numbers. Of text, no columns, and rows of
    "path" alone.

    Raises:
      UsageError: for a file that is no such table.
      StorageError: when it cannot be read, after retries.
    """
    try:
        return _rows(path, path.lower())
    except (UnicodeDecodeError, csv.Error, ValueError, pa.ArrowException) as error:
        raise UsageError(f"{flag} {path}: cannot be read as a list: {files.first_line(error)}") from error


def _rows(path: str, lower: str) -> tuple[list[str], list[Mapping[str, Any]]]:
    if lower.endswith(PARQUET_ENDINGS):
        return _rows_of_parquet(path)
    text = files.read_bytes(path).decode("utf-8-sig")
    if lower.endswith((".jsonl", ".ndjson")):
        rows = list(_json_rows(text))
        return list(dict.fromkeys(name for row in rows for name in row)), rows
    if lower.endswith((".csv", ".tsv")):
        return _rows_of_csv(text, "\t" if lower.endswith(".tsv") else ",")
    lines = (line.strip("\r\n") for line in text.split("\n"))
    return [], [{"path": line.strip()} for line in lines if line.strip() and not line.startswith("#")]


def _rows_of_parquet(path: str) -> tuple[list[str], list[Mapping[str, Any]]]:
    try:
        with files.open_for_reading(path) as file:
            table = pq.read_table(pa.PythonFile(file, "r"))
    except StorageError:
        raise
    except OSError as error:
        raise ValueError(str(error)) from error
    return table.schema.names, table.to_pylist()


def _json_rows(text: str) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            row = json.loads(line)
            if not isinstance(row, Mapping):
                raise ValueError(f"line {number} is no JSON object")
            yield row


def _rows_of_csv(text: str, delimiter: str) -> tuple[list[str], list[Mapping[str, Any]]]:
    """With a header; a file of one column whose first line is a path has none."""
    lines = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if row]
    if not lines:
        return [], []
    if len(lines[0]) == 1 and path_column(lines[0]) is None and re.search(r"[/.]", lines[0][0]):
        return [], [{"path": line[0].strip()} for line in lines]
    names = [name.strip() for name in lines[0]]
    wrong = next((number for number, line in enumerate(lines, 1) if len(line) > len(names)), None)
    if wrong is not None:
        raise ValueError(f"row {wrong} has more cells than the {len(names)} columns")
    return names, [dict(zip(names, map(_value, line), strict=False)) for line in lines[1:]]


def _value(text: str) -> Any:
    """A cell: a number where it is written as one, None where it is empty."""
    if _INTEGER.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text):
        return float(text)
    return text if text else None
