"""Tells what kind of input a user names: by --input_format, or from names and content."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from beam_curator.errors import StorageError, UsageError
from beam_curator.first_few import counted
from beam_curator.images import IMAGE_EXTENSIONS
from beam_curator.reading import DEFAULT_READING, Reading
from beam_curator.sources import matching
from beam_curator.sources.columns import image_column, is_text
from beam_curator.sources.formats import AUTO, FOLDER, LIST, MDS, PARQUET, WEBDATASET, checked_format
from beam_curator.sources.mds import MDS_ENDINGS
from beam_curator.sources.patterns import SHARD_ENDINGS, is_glob, is_shard_name
from beam_curator.sources.source import UnreadableShard
from beam_curator.sources.table_files import LIST_ENDINGS, PARQUET_ENDINGS, path_column
from beam_curator.storage import files

_EXTENSION = re.compile(r"\.[^./]+$")
_KINDS = {
    WEBDATASET: "tars",
    PARQUET: "Parquet files with images",
    MDS: "MDS shards",
    FOLDER: "a folder of images",
    LIST: "a list",
}
_LOOKED_AT = 4
_NOTHING = ""


def format_of(patterns: Sequence[str], asked: str = AUTO, reading: Reading = DEFAULT_READING) -> str:
    """The format of what patterns name; `WEBDATASET` also where nothing is there to tell it by.

    Raises:
      UsageError: for patterns that name input of several kinds.
      StorageError: where storage cannot be listed or read.
    """
    if checked_format(asked) != AUTO:
        return asked
    told: dict[str, str] = {}
    for name in dict.fromkeys(matching.expand_patterns(patterns)):
        told.setdefault(_format_of_name(name, reading), name)
    told.pop(_NOTHING, None)
    if len(told) > 1:
        mixed = " and ".join(f"{_KINDS[kind]} ({name})" for kind, name in told.items())
        raise UsageError(f"--input names {mixed}: give one kind at a time, or say which with --input_format")
    return next(iter(told), WEBDATASET)


def _format_of_name(name: str, reading: Reading) -> str:
    """Tells the format of an input from its name, or from what it names; `_NOTHING` where neither says anything."""
    if name.endswith("/") and not is_glob(name):
        return _format_of_directory(name, reading)
    by_name = _format_of_ending(name)
    if by_name == PARQUET:
        return _format_of_parquet(lambda: (file.path for file in matching.find([name]).files), reading)
    if by_name is not None or name.endswith("/"):
        return by_name or WEBDATASET
    found = [file.path for file in matching.find([name]).files]
    if not found:
        return _NOTHING
    _refuse_images(name, found)
    kinds = {kind for kind in map(_format_of_ending, found) if kind is not None}
    if WEBDATASET in kinds or not kinds:
        return PARQUET if not kinds and any(map(_begins_as_parquet, found[:_LOOKED_AT])) else WEBDATASET
    if PARQUET in kinds:
        return _format_of_parquet(lambda: iter(found), reading)
    return MDS if MDS in kinds else LIST


def _refuse_images(name: str, found: Sequence[str]) -> None:
    """Raises UsageError for images by their own names: a folder or a list keeps what belongs to them."""
    if all(map(_is_image_name, found)):
        folder = found[0].rpartition("/")[0] or "."
        raise UsageError(
            f"--input {name}: names {counted(len(found), 'image')}: give the folder, --input {folder}/, or write their "
            "paths into a file, one on each line, and give that: --input images.txt"
        )


def _format_of_ending(name: str) -> str | None:
    lower = name.lower()
    if lower.endswith(SHARD_ENDINGS):
        return WEBDATASET
    if lower.endswith(PARQUET_ENDINGS):
        return PARQUET
    if lower.endswith(MDS_ENDINGS):
        return MDS
    return LIST if lower.endswith(LIST_ENDINGS) else None


def _format_of_directory(name: str, reading: Reading) -> str:
    """Tars, then MDS, Parquet, and images: img2dataset writes a Parquet file without images beside them."""
    here = matching.find([name]).files
    if here:
        return WEBDATASET
    below = [file.path for file in matching.find_below(name).files]
    if any(path.lower().endswith(MDS_ENDINGS) for path in below):
        return MDS
    tables = [path for path in below if is_shard_name(path.rpartition("/")[2], PARQUET_ENDINGS)]
    images = any(_EXTENSION.search(path) and _is_image_name(path) for path in below)
    if tables and (not images or any(_has_images(path, reading) for path in tables[:_LOOKED_AT])):
        return PARQUET
    return FOLDER if images else _NOTHING


def _is_image_name(path: str) -> bool:
    return path.rpartition(".")[2].lower() in IMAGE_EXTENSIONS


def _format_of_parquet(found: Callable[[], Iterator[str]], reading: Reading) -> str:
    """Files with a column of images are those; with one of paths, and none of images, a list. What is downloaded from
    the web has to be asked for: that a Parquet file has urls does not say so."""
    for path in found():
        schema = _schema_of(path)
        if schema is None:
            continue
        texts = [field.name for field in schema if is_text(field.type)]
        paths = path_column(texts, reading.image_column)
        if _holds_images(schema, reading) or paths is None:
            return PARQUET
        return PARQUET if _of_the_web(path, paths) else LIST
    return PARQUET


def _of_the_web(path: str, column: str) -> bool:
    try:
        with files.open_for_reading(path) as file:
            batch = next(pq.ParquetFile(pa.PythonFile(file, "r")).iter_batches(1, columns=[column]), None)
    except (pa.ArrowException, OSError, ValueError):
        return False
    first = batch.column(0)[0].as_py() if batch is not None and batch.num_rows else None
    return isinstance(first, str) and first.lower().startswith(("http://", "https://"))


def _has_images(path: str, reading: Reading) -> bool:
    schema = _schema_of(path)
    return schema is not None and _holds_images(schema, reading)


def _holds_images(schema: pa.Schema, reading: Reading) -> bool:
    try:
        image_column(schema, reading.image_column)
    except UnreadableShard as error:
        return "several columns" in str(error)
    return True


def _schema_of(path: str) -> pa.Schema | None:
    """Reads a file's schema; None of a file that is no whole Parquet file: its reader says so."""
    try:
        with files.open_for_reading(path) as file:
            return pq.read_schema(pa.PythonFile(file, "r"))
    except StorageError:
        return None
    except (pa.ArrowException, OSError, ValueError):
        return None


def _begins_as_parquet(path: str) -> bool:
    try:
        with files.open_for_reading(path) as file:
            return file.read(4) == b"PAR1"
    except OSError:
        return False
