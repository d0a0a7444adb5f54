"""Tables that name files: CSV, TSV, JSON lines, Parquet, and text with a path on each line."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from beam_curator import json_text
from beam_curator.errors import StorageError, UsageError, first_line
from beam_curator.sources.parquet_claims import false_claim, whole_table
from beam_curator.storage import files
from beam_curator.storage.places import is_special

PARQUET_ENDINGS = (".parquet", ".pq")
LIST_ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".txt", ".lst")

PATH_NAMES = ("path", "file_name", "filename", "filepath", "file_path", "file", "image_path", "image_file", "image")
URL_NAMES = ("url", "image_url", "uri", "URL")

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?")
_CELL_CHARACTERS = 1 << 24

csv.field_size_limit(_CELL_CHARACTERS)


class Table(NamedTuple):
    """The content of a table of metadata or of a list.

    Attributes:
      columns: names of the columns, in order; empty for text with a path on each line, whose rows have "path" alone.
      rows: each row's values by column; columns may be missing.
      of_texts: whether all values are texts or None, as in CSV; `value_of` gives the values that they stand for.
    """

    columns: list[str]
    rows: Sequence[Mapping[str, Any]]
    of_texts: bool = False


def path_column(names: Sequence[str], named: str = "") -> str | None:
    """The column of paths or urls: the one that is named, else the first known one, in any case."""
    if named:
        return named if named in names else None
    return next((one for known in (*PATH_NAMES, *URL_NAMES) for one in names if one.lower() == known.lower()), None)


def table_of(path: str, flag: str = "--input") -> Table:
    """The table in a file.

    Raises:
      UsageError: for a file that is no such table.
      StorageError: when it cannot be read, after retries.
    """
    if is_special(path):  # which is read once, and a table is read by each run again
        raise UsageError(f"{flag} {path}: is not a file, but a pipe, socket or device: write it into a file")
    try:
        return _table(path, path.lower())
    except (csv.Error, ValueError, pa.ArrowException) as error:
        raise UsageError(f"{flag} {path}: cannot be read as a list: {first_line(error)}") from error


def _table(path: str, lower: str) -> Table:
    if lower.endswith(PARQUET_ENDINGS):
        return _table_of_parquet(path)
    data = files.read_bytes(path)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("it is text in UTF-16: write it in UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line:,} is not UTF-8: write it in UTF-8") from error
    if lower.endswith((".jsonl", ".ndjson")):
        rows = list(_json_rows(text))
        return Table(list(dict.fromkeys(name for row in rows for name in row)), rows)
    if lower.endswith((".csv", ".tsv")):
        return _table_of_csv(text, "\t" if lower.endswith(".tsv") else ",")
    lines = (line.strip("\r\n") for line in text.split("\n"))
    return Table([], [{"path": line.strip()} for line in lines if line.strip() and not line.startswith("#")])


def _table_of_parquet(path: str) -> Table:
    try:
        with files.open_for_reading(path) as file:
            parquet = pq.ParquetFile(pa.PythonFile(file, "r"))
            _check_names(parquet.schema_arrow.names)
            size_bytes = file.seek(0, io.SEEK_END)
            wrong = false_claim(parquet.metadata, size_bytes)
            if wrong is not None:
                raise ValueError(wrong)
            table = whole_table(parquet, size_bytes)
    except StorageError:
        raise
    except OSError as error:
        raise ValueError(str(error)) from error
    return Table(table.schema.names, table.to_pylist())


def _check_names(names: Sequence[str]) -> None:
    """Raises ValueError for a table two of whose columns have one name."""
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise ValueError(f"two columns are called {twice!r}: rename one of them")


def _json_rows(text: str) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                row = json_text.loads(line)
            except ValueError as error:
                raise ValueError(f"line {number} is no JSON: {getattr(error, 'msg', error)}") from error
            if not isinstance(row, Mapping):
                raise ValueError(f"line {number} is no JSON object")
            yield row


def _table_of_csv(text: str, delimiter: str) -> Table:
    """Reads a table with a header; a file of one column whose first line is a path has none."""
    lines = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if row]
    if not lines:
        return Table([], [])
    if len(lines[0]) == 1 and path_column(lines[0]) is None and re.search(r"[/.]", lines[0][0]):
        return Table([], [{"path": line[0].strip()} for line in lines])
    names = [name.strip() for name in lines[0]]
    wrong = next((number for number, line in enumerate(lines, 1) if len(line) > len(names)), None)
    if wrong is not None:
        raise ValueError(f"row {wrong} has more cells than the {len(names)} columns")
    filled = {place for line in lines[1:] for place, cell in enumerate(line) if cell}
    used = [place for place, name in enumerate(names) if name or place in filled]
    _check_names([names[place] for place in used])
    rows = [{names[place]: line[place] or None for place in used if place < len(line)} for line in lines[1:]]
    return Table([names[place] for place in used], rows, of_texts=True)


def value_of(text: str | None) -> Any:
    """Reads a cell of CSV: a number where it is written as one."""
    if text is None:
        return None
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text
