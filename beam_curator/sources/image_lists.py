"""Lists of images: CSV, TSV, JSON lines or Parquet with a column of paths or urls, or text with one on each line.

A relative path is one beside the list. A caption and other columns go with each image, as .txt and .json.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from beam_curator.errors import UsageError
from beam_curator.first_few import counted
from beam_curator.given_paths import at_home
from beam_curator.images import IMAGE_EXTENSIONS
from beam_curator.reading import Reading
from beam_curator.sources import matching
from beam_curator.sources.formats import LIST
from beam_curator.sources.keys import unique, unique_keys
from beam_curator.sources.listing import Entry, shards_of
from beam_curator.sources.local_matching import Missing
from beam_curator.sources.mds import MDS_ENDINGS
from beam_curator.sources.patterns import SHARD_ENDINGS
from beam_curator.sources.shard_identity import KnownShard, place_of
from beam_curator.sources.table_fields import texts_of_rows
from beam_curator.sources.table_files import LIST_ENDINGS, PARQUET_ENDINGS, path_column, table_of
from beam_curator.storage import urls

MAX_ROWS = 10_000_000
_MISSING = "missing"


def lists(names: Sequence[str], reading: Reading) -> tuple[list[KnownShard], list[Missing]]:
    """The shards of lists, and what is missing. What a list names is looked for when it is read.

    Args:
      names: paths, globs and directories of lists.
      reading: which columns are meant.

    Raises:
      UsageError: for what is no list.
      StorageError: when one cannot be read.
    """
    found = matching.find(names, (*LIST_ENDINGS, *PARQUET_ENDINGS))
    shards: list[KnownShard] = []
    for file in found.files:
        entries = entries_of(file.path, reading)
        shards += shards_of(file.path, place_of(file.path), LIST, entries)
    return shards, found.missing


def entries_of(path: str, reading: Reading) -> list[Entry]:
    """Reads the entries of a list, in its order.

    Raises:
      UsageError: for what is no list of images.
      StorageError: when it cannot be read.
    """
    table = table_of(path)
    columns, rows = table.columns, table.rows
    column = path_column(columns, reading.image_column) if columns else "path"
    if column is None:
        told = ", ".join(columns)
        raise UsageError(
            f"--input {path}: has no column of paths or urls: {_what_to_do(columns)}; its columns are {told}"
        )
    if not rows:
        raise UsageError(f"--input {path}: the list names nothing")
    if len(rows) > MAX_ROWS:
        raise UsageError(f"--input {path}: has {len(rows):,} rows: cut it into lists of up to {MAX_ROWS:,}")
    given = [_path_in(row.get(column)) for row in rows]
    if not any(given):
        raise UsageError(f"--input {path}: its column {column} holds no path and no url: give --image_column")
    _refuse_inputs(path, [one for one in given if one])
    names = unique([one or f"row {number}" for number, one in enumerate(given)])
    keys = unique_keys(names)
    texts = texts_of_rows(path, table, reading.caption_column) if columns else ({} for _ in rows)
    entries = [
        _entry(path, name, key, one, of_row) for name, key, one, of_row in zip(names, keys, given, texts, strict=True)
    ]
    if all(entry.stamp == _MISSING for entry in entries):
        named = f"{counted(len(entries), 'file')} that it names, such as {given[0]}"
        raise UsageError(f"--input {path}: is no list of images: of the {named}, none is there")
    return entries


def _what_to_do(columns: Sequence[str]) -> str:
    """Says what to do about a table without a column of paths."""
    if len(columns) == 1 and (mark := next((one for one in ";\t|" if one in columns[0]), None)):
        name = {";": "semicolons", "\t": "tabs", "|": "bars"}[mark]
        return f"separate them by commas, not by {name}{', or call it .tsv' if mark == chr(9) else ''}"
    if any("/" in one or one.rpartition(".")[2].lower() in IMAGE_EXTENSIONS for one in columns):
        return "write their names into its first line"
    return "give --image_column"


def _refuse_inputs(path: str, given: Sequence[str]) -> None:
    """Raises UsageError for a list of nothing but shards or folders, which is written with an @ before it."""
    shards = (("tar shards", SHARD_ENDINGS), ("Parquet files", PARQUET_ENDINGS), ("MDS shards", MDS_ENDINGS))
    for kind, endings in shards:
        if given and all(one.lower().endswith(endings) for one in given):
            raise UsageError(f"--input {path}: names {kind}, such as {given[0]}, and no images: give it as @{path}")
    folders = [where for one in given if not urls.is_remote(where := beside(path, one)) and os.path.isdir(where)]  # noqa: PTH112
    if folders and len(folders) == len(given):
        raise UsageError(f"--input {path}: names folders, such as {folders[0]}, and no images: give it as @{path}")


def _path_in(value: Any) -> str | None:
    """A path, or that of Hugging Face's images; None of what is neither."""
    if isinstance(value, Mapping):
        value = value.get("path")
    return value.strip() or None if isinstance(value, str) else None


def _entry(path: str, name: str, key: str, given: str | None, texts: Mapping[str, str]) -> Entry:
    if given is None:
        return Entry(name, key, "", texts=texts, failure="null where the list has its paths")
    where = beside(path, given)
    size_bytes, stamp = _looked_at(where)
    return Entry(name, key, where, size_bytes, stamp, texts=texts)


def beside(path: str, given: str) -> str:
    """A path in a list, relative to the list's directory; absolute paths and urls are as they are, but for the scheme,
    which is one in any case of letters; `~` is a home."""
    given = at_home(given)
    if urls.is_remote(given):
        scheme, _, rest = given.partition("://")
        return f"{scheme.lower()}://{rest}"
    if given.startswith("/"):
        return given
    return path[: path.rfind("/") + 1] + given


def _looked_at(path: str) -> tuple[int, str]:
    """Finds the size and the stamp of a local file; nothing of one elsewhere, for which storage would be asked file by
    file."""
    if urls.is_remote(path):
        return 0, ""
    try:
        status = os.stat(path)  # noqa: PTH116 (a Path would change how the user wrote it)
    except (OSError, ValueError):
        return 0, _MISSING
    return status.st_size, f"{status.st_size} {status.st_mtime!r}"
