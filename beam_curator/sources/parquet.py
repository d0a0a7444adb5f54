"""Parquet files with the bytes of images: Hugging Face's, img2dataset's, and all with a column of bytes.

A row is a sample: its image, its caption as .txt, its other columns as .json. What it is called and how its members
are named is decided by the file's name, the row's number and the image's first bytes.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from beam_curator.errors import StorageError, first_line
from beam_curator.images import IMAGE_EXTENSIONS
from beam_curator.images.extensions import extension_of
from beam_curator.samples import Buffer, Shard
from beam_curator.sources.columns import Columns, columns_of
from beam_curator.sources.json_fields import json_member
from beam_curator.sources.parquet_claims import (
    MAX_EXPANSION_BYTES,
    MAX_RUN_ROWS,
    claimed_bytes,
    false_claim,
    rows_one_by_one,
)
from beam_curator.sources.records import Record
from beam_curator.sources.source import Rows, UnreadableShard
from beam_curator.storage import files

BUFFER_BYTES = 4 << 20
"""So much of each column is fetched at once."""

SPLIT_ABOVE = 4
"""A row group of more than this many times the range size is cut: to read its later rows all before are decoded."""

_DAMAGE = (pa.ArrowException, OSError, OverflowError, ValueError)


@dataclasses.dataclass(frozen=True)
class ParquetSource:
    """Reads Parquet files with images.

    Attributes:
      image_column: the column of images; "" to find it.
      caption_column: the column of captions; "" to find it.
      endings: how such files end.
    """

    image_column: str = ""
    caption_column: str = ""
    endings: tuple[str, ...] = (".parquet", ".pq")

    def plan(self, shard: Shard, range_bytes: int) -> Sequence[Rows]:
        """Runs of row groups; a large row group is several runs."""
        with _opened(shard) as file:
            parquet = _parquet(file)
            metadata = parquet.metadata
            self._columns(parquet)
        false = false_claim(metadata, shard.size_bytes)
        if false is not None:
            raise UnreadableShard(f"is no whole Parquet file: {false}")
        groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
        return _runs([(group.num_rows, claimed_bytes(group, shard.size_bytes)) for group in groups], range_bytes)

    def read(self, shard: Shard, rows: Sequence[int]) -> Iterator[Record]:
        """Rows of a file, decoded some at a time."""
        if not rows:
            return
        with _opened(shard) as file:
            parquet = _parquet(file)
            reader = _RowReader(parquet, _parquet(file), self._columns(parquet), shard)
            waiting = iter(rows)
            row: int | None = next(waiting)
            first = 0
            for group in range(parquet.metadata.num_row_groups):
                end = first + parquet.metadata.row_group(group).num_rows
                wanted: list[int] = []
                while row is not None and row < end:
                    wanted.append(row)
                    row = next(waiting, None)
                if wanted:
                    yield from reader.read(group, first, wanted)
                first = end

    def _columns(self, parquet: pq.ParquetFile) -> Columns:
        try:
            return columns_of(parquet.schema_arrow, self.image_column, self.caption_column)
        except _DAMAGE as error:
            raise _unreadable(error) from error


def _runs(groups: Sequence[tuple[int, int]], range_bytes: int) -> list[Rows]:
    """Runs of rows from (rows, bytes) of each row group."""
    runs: list[Rows] = []
    start = end = taken = 0

    def close() -> None:
        nonlocal start, taken
        if end > start:
            runs.append(Rows(start, end, taken))
        start, taken = end, 0

    for rows, size_bytes in groups:
        pieces = max(_pieces(rows, MAX_RUN_ROWS), min(rows, _pieces(size_bytes, SPLIT_ABOVE * range_bytes)))
        if pieces > 1:
            close()
            for piece in range(pieces):
                end = start + rows * (piece + 1) // pieces - rows * piece // pieces
                taken = size_bytes // pieces
                close()
            continue
        if (taken and taken + size_bytes > range_bytes) or end - start + rows > MAX_RUN_ROWS:
            close()
        end, taken = end + rows, taken + size_bytes
    close()
    return runs


def _pieces(whole: int, at_most: int) -> int:
    return max(1, math.ceil(whole / at_most))


class _RowReader:
    """Makes records of a file's rows."""

    def __init__(self, parquet: pq.ParquetFile, again: pq.ParquetFile, columns: Columns, shard: Shard) -> None:
        self._parquet, self._again, self._columns = parquet, again, columns
        self._stem, self._size_bytes = _stem(shard), shard.size_bytes
        self._bytes_left: float = MAX_EXPANSION_BYTES
        self._names = [columns.image, *([columns.caption] if columns.caption else []), *columns.fields]

    def read(self, group: int, first: int, wanted: Sequence[int]) -> Iterator[Record]:
        """The records of these rows of a row group, whose first row is `first`; rows that follow damage are failed."""
        index = 0
        self._bytes_left += claimed_bytes(self._parquet.metadata.row_group(group), self._size_bytes)
        try:
            read = rows_one_by_one(self._parquet, self._again, group, self._names)
            for row, columns in enumerate(read, first):
                if row < wanted[index]:
                    continue
                record = self._record(columns, row)
                self._bytes_left -= sum(map(len, record.members.values()))
                if self._bytes_left < 0:
                    self._bytes_left = -math.inf  # nothing that follows fits in again
                    why = f"its file expands to {MAX_EXPANSION_BYTES} bytes more than it says"
                    yield from (self._failed(row, why) for row in wanted[index:])
                    return
                index += 1
                yield record
                if index == len(wanted):
                    return
        except StorageError:
            raise
        except _DAMAGE as error:
            why = f"damaged Parquet file: {first_line(error)}"
            yield from (self._failed(row, why) for row in wanted[index:])
            return
        yield from (self._failed(row, "damaged Parquet file: the row is missing") for row in wanted[index:])

    def _failed(self, row: int, why: str) -> Record:
        return Record(self._key(row), failure=why)

    def _key(self, row: int) -> str:
        return f"{self._stem}/{row:08d}"

    def _record(self, columns: Mapping[str, pa.Array], row: int) -> Record:
        image, path = _image(columns[self._columns.image])
        members: dict[str, Buffer] = {}
        if image is not None:
            members[extension_of(image) or _extension_in(path) or "jpg"] = image
        caption = _text(columns[self._columns.caption]) if self._columns.caption else None
        if caption is not None:
            members["txt"] = caption
        fields = {name: _value(columns[name]) for name in self._columns.fields}
        if path and "path" not in fields:
            fields["path"] = path
        if fields:
            members["json"] = json_member(fields)
        failure = None if image is not None else self._no_image(path)
        return Record(self._key(row), members, failure, [f"column of bytes ({name})" for name in self._columns.left])

    def _no_image(self, path: str | None) -> str:
        alone = ", which has a path alone: --input_format list reads paths" if path else ""
        return f"null in the column {self._columns.image}{alone}"


def _image(column: pa.Array) -> tuple[Buffer | None, str | None]:
    """The bytes and the path of an image, which is all of its column, each None where it is null or not there."""
    if not column[0].is_valid:
        return None, None
    if not pa.types.is_struct(column.type):
        return _bytes(column), None
    path = _value(column.field("path")) if column.type.get_field_index("path") >= 0 else None
    return _bytes(column.field("bytes")), path if isinstance(path, str) else None


def _bytes(column: pa.Array) -> Buffer | None:
    value = column[0].value if pa.types.is_dictionary(column.type) else column[0]
    return memoryview(value.as_buffer()).cast("B") if value is not None and value.is_valid else None


def _text(column: pa.Array) -> bytes | None:
    value = _value(column)
    return value.encode("utf-8", "replace") if isinstance(value, str) else None


def _value(column: pa.Array) -> Any:
    """The value of a column of one as Python has it; of texts that are no UTF-8, what can be read of them."""
    try:
        return column[0].as_py()
    except UnicodeDecodeError:
        try:
            return column.cast(pa.binary())[0].as_py().decode("utf-8", "replace")
        except pa.ArrowException:
            return None
    except (ValueError, OverflowError):  # a date that Python has no room for
        return _without_python(column)


def _without_python(value: pa.Array) -> str | None:
    """A value that Python has no room for as text: its number; None where it has none."""
    for type in (pa.int64(), pa.int32()):
        try:
            return str(value.cast(type)[0].as_py())
        except pa.ArrowException:
            continue
    return None


def _extension_in(path: str | None) -> str | None:
    extension = (path or "").rpartition(".")[2].lower()
    return extension if extension in IMAGE_EXTENSIONS else None


def _stem(shard: Shard) -> str:
    name = shard.url.rstrip("/").rpartition("/")[2]
    return re.sub(r"\.(parquet|pq)$", "", name, flags=re.IGNORECASE)


def _opened(shard: Shard) -> BinaryIO:
    return files.open_for_reading(shard.path, shard.size_bytes)


def _parquet(file: BinaryIO) -> pq.ParquetFile:
    """The file's footer read.

    Raises:
      UnreadableShard: when it is no whole Parquet file that can be read.
    """
    try:
        return pq.ParquetFile(pa.PythonFile(file, "r"), buffer_size=BUFFER_BYTES, pre_buffer=False)
    except StorageError:
        raise
    except _DAMAGE as error:
        raise _unreadable(error) from error


def _unreadable(error: BaseException) -> UnreadableShard:
    text = first_line(error).rstrip(".")
    if "encrypted" in text.lower() or "decryption" in text.lower():
        return UnreadableShard("is an encrypted Parquet file, which is not read: write it without encryption")
    return UnreadableShard(f"is no whole Parquet file: {text}")
