"""Files that list samples: Parquet, CSV, text with an entry on each line, and NumPy arrays as DataComp writes them."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from beam_curator.errors import StorageError, UsageError
from beam_curator.rules.lists import COLUMNS, HEX_DIGITS, ListFile
from beam_curator.storage import files, urls
from beam_curator.storage.places import is_special

_AT_ONCE = 1 << 16
_BYTES_OF_A_LINE = 33
_UIDS = [("<u8", "<u8"), ("u8", "u8")]


def list_file(flag: str, text: str, allows: bool) -> ListFile:
    """Opens the list that a flag names: `FILE`, or `COLUMN=FILE` where the file does not say what it lists.

    Raises:
      UsageError: for a file that is not there or cannot be read, or that says no column.
    """
    column, is_there, path = text.partition("=")
    if not is_there or "/" in column or "." in column:
        column, path = "", text
    if column and column not in COLUMNS:
        raise UsageError(f"{flag} {text}: a list is of {', '.join(COLUMNS)}, not of {column}")
    if not path:
        raise UsageError(f"{flag} {text}: names no file: give COLUMN=FILE, {_OF}")
    path = urls.absolute(path)
    try:
        found, entries = _looked_at(path, column)
        listed = ListFile(path, found, allows, entries)
        first = _first_entries(listed) if found in COLUMNS else []
    except (StorageError, OSError, ValueError, MemoryError, pa.ArrowException) as error:
        raise UsageError(f"{flag} {text}: cannot be read: {str(error).splitlines()[0]}") from error
    if found not in COLUMNS:
        raise UsageError(f"{flag} {text}: {found or 'the file does not say what it lists'}: give COLUMN=FILE, {_OF}")
    if allows and not first:
        raise UsageError(f"{flag} {text}: holds not one entry: every sample would be dropped")
    digits = HEX_DIGITS.get(found)
    if digits and first and not any(re.fullmatch(f"[0-9a-f]{{{digits}}}", entry) for entry in first):
        raise UsageError(f"{flag} {text}: {first[0][:80]!r} is no {found}, which has {digits} hex digits")
    return listed


_OF = f"with one of {', '.join(COLUMNS)}"


def _looked_at(path: str, column: str) -> tuple[str, int]:
    """Finds what a file lists, or what is wrong with it; and about how many entries it has."""
    if is_special(path):  # as <(zcat list.gz) gives it: a second reading would never end
        raise ValueError("it is a pipe or a device, and a list is read more than once: write it to a file")
    kind = _kind(path)
    if kind == "parquet":
        with _opened(path) as file:
            parquet = pq.ParquetFile(file)
            found = _column(parquet.schema_arrow.names, column)
            if found in COLUMNS:
                _check_texts(found, parquet.schema_arrow.field(found).type)
            return found, parquet.metadata.num_rows
    if kind == "csv":
        with _opened(path) as file:
            names = pa.csv.open_csv(file).schema.names
        return _column(names, column), files.size_of(path) // _BYTES_OF_A_LINE
    if kind == "npy":
        array = _array(path)
        if array.ndim != 1 or not (_are_uids(array) or array.dtype.kind in "SU"):
            raise ValueError(
                f"an array of {array.dtype} {list(array.shape)}: neither u8,u8 nor texts, one after another"
            )
        if _are_uids(array) and column not in ("", "uid"):
            raise ValueError(f"an array of u8,u8 holds uids, not {column}")
        return ("uid" if _are_uids(array) else column), len(array)
    with _opened(path) as file:
        if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            raise ValueError("it is text in UTF-16: write it in UTF-8")
    return column, files.size_of(path) // _BYTES_OF_A_LINE


def _check_texts(column: str, type: pa.DataType) -> None:
    """Raises ValueError for a column of what is no text: as a number, key 000012 is 12, and is no sample's."""
    values = type.value_type if pa.types.is_dictionary(type) else type
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    if not any(is_text(values) for is_text in texts):
        raise ValueError(f"its column {column} holds {type}: write it as text")


def _first_entries(listed: ListFile) -> list[str]:
    """Reads the first entries of a list; [] if it has none."""
    return next(filter(None, entries_of(listed)), [])


def entries_of(listed: ListFile) -> Iterator[list[str]]:
    """The entries of a list, as texts, some at a time; hex digits in small letters, as the ledger has them.

    Raises:
      StorageError, OSError, ArrowException: when it cannot be read.
    """
    for texts in _entries(listed):
        yield [text for text in listed.comparable(texts) if text is not None]


def _entries(listed: ListFile) -> Iterator[list[str]]:
    kind = _kind(listed.path)
    if kind == "npy":
        array = _array(listed.path)
        for start in range(0, len(array), _AT_ONCE):
            yield _texts(array[start : start + _AT_ONCE])
        return
    with _opened(listed.path) as file:
        if kind == "parquet":
            for batch in pq.ParquetFile(file).iter_batches(_AT_ONCE, columns=[listed.column]):
                yield _plain(batch.column(0))
        elif kind == "csv":
            options = pa.csv.ConvertOptions(
                include_columns=[listed.column], column_types={listed.column: pa.string()}, strings_can_be_null=False
            )
            for batch in pa.csv.open_csv(file, convert_options=options):
                yield _plain(batch.column(0))
        else:
            lines = io.TextIOWrapper(file, "utf-8-sig", "surrogateescape")
            while piece := lines.readlines(1 << 21):
                yield [line.strip() for line in piece if line.strip()]


def _kind(path: str) -> str:
    ending = path.rsplit("/", 1)[-1].rpartition(".")[2].lower()
    if ending in _OTHER_KINDS:
        raise ValueError(f"a list is Parquet, CSV, npy, or text with an entry on each line, not .{ending}")
    return ending if ending in ("parquet", "csv", "npy") else "text"


_ENDINGS = "arrow bz2 db feather gz json jsonl ndjson npz orc pickle pkl pt sqlite tar tsv xls xlsx xz zip zst"

_OTHER_KINDS = frozenset(_ENDINGS.split())
"""Endings of files that would be taken for lines of text, none of which is a sample's."""


def _column(names: Sequence[str], wanted: str) -> str:
    if wanted:
        if wanted not in names:
            raise ValueError(f"it has no column {wanted}: there are {', '.join(names)}")
        return wanted
    there = [name for name in COLUMNS if name in names]
    return there[0] if len(there) == 1 else f"it has {'several' if there else 'none'} of {', '.join(COLUMNS)}"


def _array(path: str) -> np.ndarray:
    if "://" not in path:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    return np.load(io.BytesIO(files.read_bytes(path)), allow_pickle=False)


def _are_uids(array: np.ndarray) -> bool:
    fields = array.dtype.fields
    return fields is not None and [one[0] for one in fields.values()] == [np.dtype("u8")] * 2


def _texts(array: np.ndarray) -> list[str]:
    if _are_uids(array):
        return [f"{high:016x}{low:016x}" for high, low in array.tolist()]
    return [one.decode() if isinstance(one, bytes) else one for one in array.tolist()]


def _plain(column: Any) -> list[str]:
    return [str(value) for value in column.to_pylist() if value is not None]


@contextlib.contextmanager
def _opened(path: str) -> Iterator[Any]:
    if "://" in path:
        yield io.BytesIO(files.read_bytes(path))
    else:
        with Path(path).open("rb") as file:
            yield file
