"""Files of the ledger that hold many ranges: what each says of itself, and the rows of each range in it.

Rows stand in row groups of whole ranges. Beside them the file says which ranges these are, and which columns each had
when it was written: so a range's rows come out as they went in, also where its neighbours have more columns.
"""

from __future__ import annotations

import base64
import bisect
import contextlib
import dataclasses
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from beam_curator.errors import StorageError, first_line
from beam_curator.output.checked_parquet import told_if_damaged, with_whole_texts
from beam_curator.output.column_names import from_files, schema_from_files
from beam_curator.output.ledger import is_of_many, read_table
from beam_curator.output.prefix_sums import RangeKey
from beam_curator.storage import files
from beam_curator.storage.retrying import retried

METADATA = b"beam_curator_ledger"
"""Under what a file says which ranges it holds."""


class RangeInFile(NamedTuple):
    """A range in a file of many.

    Attributes:
      name: of the range.
      rows: how many it has.
      columns: which of `Contents.schemas` it has.
    """

    name: str
    rows: int
    columns: int


@dataclasses.dataclass(frozen=True)
class Contents:
    """The contents of a file of the ledger that many ranges share.

    Attributes:
      first: the key by which its first range is ordered among all ranges.
      ranges: the ranges, in their order.
      schemas: the different columns that ranges have, under their names in files.
      content: a digest of all rows, 32 hex digits.
    """

    first: RangeKey
    ranges: Sequence[RangeInFile]
    schemas: Sequence[pa.Schema]
    content: str

    @property
    def metadata(self) -> dict[bytes, bytes]:
        """The contents as metadata of a Parquet file."""
        told = {
            "first": list(self.first),
            "ranges": [list(one) for one in self.ranges],
            "schemas": [base64.b64encode(schema.serialize().to_pybytes()).decode() for schema in self.schemas],
            "content": self.content,
        }
        return {METADATA: json.dumps(told, separators=(",", ":")).encode()}

    @classmethod
    def read(cls, metadata: pq.FileMetaData) -> Contents:
        """Reads the contents from a file's metadata.

        Raises:
          ArrowException: when it does not say which ranges it holds, or has other rows.
        """
        try:
            told = json.loads((metadata.metadata or {})[METADATA])
            ranges = [RangeInFile(*one) for one in told["ranges"]]
            schemas = [pa.ipc.read_schema(pa.py_buffer(base64.b64decode(one))) for one in told["schemas"]]
            found = cls((told["first"][0], told["first"][1]), ranges, schemas, told["content"])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise pa.ArrowInvalid("it does not say which ranges it holds") from error
        if sum(one.rows for one in ranges) != metadata.num_rows:
            raise pa.ArrowInvalid("it has other rows than those of the ranges that it says it holds")
        return found


class ManyRanges:
    """A file of many ranges: one row group of it is in memory.

    Raises:
      StorageError: when it cannot be read, after retries; on reading as well.
      ArrowException: when it is damaged; on reading as well.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._metadata = _read_metadata(url)
        self.contents = Contents.read(self._metadata)
        self._firsts = [0, *itertools.accumulate(one.rows for one in self.contents.ranges)]
        sizes = [self._metadata.row_group(index).num_rows for index in range(self._metadata.num_row_groups)]
        self._groups = [0, *itertools.accumulate(sizes)]
        self._read: tuple[int, Sequence[str] | None, pa.Table] | None = None

    @property
    def ranges(self) -> Sequence[RangeInFile]:
        """The ranges that the file holds, in their order."""
        return self.contents.ranges

    @property
    def groups(self) -> Sequence[int]:
        """The rows at which row groups begin, and the number of all rows."""
        return self._groups

    def rows(self, place: int, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of one range.

        Args:
          place: which of `ranges`.
          columns: as rules call them; None for all that the range has.
        """
        one = self.ranges[place]
        schema = _among(self.contents.schemas[one.columns], columns)
        first = self._firsts[place]
        group = max(0, min(bisect.bisect_right(self._groups, first), len(self._groups) - 1) - 1)
        table = self._group(group, None if columns is None else self._of_any(columns))
        found = table.slice(first - self._groups[group], one.rows)
        return from_files(in_schema(found, schema))

    def _of_any(self, columns: Sequence[str]) -> Sequence[str]:
        """Finds the names in the file of these columns, whichever ranges have them: so a row group is read once also
        where its ranges have different columns."""
        found = {name: None for schema in self.contents.schemas for name in _among(schema, columns).names}
        return list(found)

    def place_of(self, row: int) -> tuple[int, int]:
        """Finds the range that a row is of, and the number of the row within it."""
        place = bisect.bisect_right(self._firsts, row) - 1
        return place, row - self._firsts[place]

    @property
    def schema(self) -> pa.Schema:
        """The columns that it has for all ranges together, as they are called in files."""
        return self._metadata.schema.to_arrow_schema()

    def group(self, group: int, columns: Sequence[str], as_numbers: Sequence[str] = ()) -> pa.Table:
        """The rows of a row group, whatever ranges they are of.

        Args:
          group: which one.
          columns: as they are called in files.
          as_numbers: those that are decoded to numbers of a few texts.
        """
        return _read_group(self.url, self._metadata, group, columns, as_numbers)

    def _group(self, group: int, columns: Sequence[str] | None) -> pa.Table:
        if self._read is None or self._read[:2] != (group, columns):
            self._read = None
            self._read = group, columns, _read_group(self.url, self._metadata, group, columns)
        return self._read[2]


def _among(schema: pa.Schema, columns: Sequence[str] | None) -> pa.Schema:
    """The fields of these columns, as rules call them; all where that is None."""
    if columns is None:
        return schema
    named = zip(schema, schema_from_files(schema).names, strict=True)
    return pa.schema([field for field, name in named if name in columns], schema.metadata)


def in_schema(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows in these columns; null where they have none.

    Raises:
      ArrowException: for values that a column cannot hold.
    """
    there, columns = set(table.schema.names), []
    for field in schema:
        if field.name not in there or pa.types.is_null(field.type):
            columns.append(pa.nulls(len(table), field.type))
        else:
            columns.append(table[field.name].cast(field.type))
    return pa.Table.from_arrays(columns, schema=schema)


@contextlib.contextmanager
def _damage_told() -> Iterator[None]:
    """Raises ArrowInvalid for damage that Arrow reports as an OSError: OSErrors are storage's otherwise, and may
    pass."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise pa.ArrowInvalid(first_line(error)) from error


@retried
def _read_metadata(url: str) -> pq.FileMetaData:
    with files.open_for_reading(url) as file, _damage_told():
        return pq.read_metadata(file)


@retried
def _read_group(
    url: str,
    metadata: pq.FileMetaData,
    group: int,
    columns: Sequence[str] | None,
    as_numbers: Sequence[str] = (),
) -> pa.Table:
    with files.open_for_reading(url) as file, _damage_told():
        found = pq.ParquetFile(file, metadata=metadata, read_dictionary=list(as_numbers))
        if not metadata.num_row_groups:
            return found.schema_arrow.empty_table()
        return with_whole_texts(found.read_row_group(group, columns=columns, use_threads=False))


def name_in(path: str) -> str:
    """The name of the range that a file of one range is of."""
    return path.rpartition("/")[2].removesuffix(".parquet")


def tables_of(url: str) -> Iterator[tuple[str, pa.Table]]:
    """The rows of each range in a file of the ledger, with the range's name, in order.

    Raises:
      StorageError: when it cannot be read, after retries, or is damaged.
    """
    if not is_of_many(url):
        yield name_in(url), read_table(url)
        return
    with told_if_damaged(url):
        file = ManyRanges(url)
    for place, one in enumerate(file.ranges):
        with told_if_damaged(url):
            table = file.rows(place)
        yield one.name, table
