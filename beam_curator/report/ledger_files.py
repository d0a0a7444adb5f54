"""The rows of the ledger, file after file in the order of their names: few rows are in memory at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from beam_curator.output.belonging import ledger_files
from beam_curator.output.column_names import from_files, schema_from_files
from beam_curator.output.ledger import is_of_many
from beam_curator.output.many_ranges import ManyRanges, name_in
from beam_curator.report.columns import is_ledger
from beam_curator.storage import files
from beam_curator.storage.read_ahead import prefetched

_REPEATING = ["shard", "status", "reason", "format"]
"""Columns that are decoded to numbers of a few texts, not to a text for each row."""

_AT_ONCE = 3
_REMOTE_AT_ONCE = 16

Columns = Callable[[pa.Schema], Sequence[str]]
"""The columns to read, given what a file has: an older release's may lack some."""


class Run(NamedTuple):
    """Rows that stand together in a file of the ledger.

    Attributes:
      table: n rows.
      file: the file's place among all.
      first: which row of the file the first one is.
    """

    table: pa.Table
    file: int
    first: int = 0


class InRange(NamedTuple):
    """A row of a file, told by its range.

    Attributes:
      table: one row, with all columns of its range.
      range: the name of the range.
      row: which row of the range it is.
    """

    table: pa.Table
    range: str
    row: int


@dataclasses.dataclass(frozen=True)
class LedgerFiles:
    """The files of a finished job's ledger.

    Attributes:
      output: the output directory.
      urls: theirs, in the order of their names.
    """

    output: str
    urls: Sequence[str]

    def tables(self, wanted: Columns) -> Iterator[Run]:
        """All rows, in order. A file that is none of the ledger, or is damaged, is passed over: counts tell that it is
        missing.

        Raises:
          StorageError: when one cannot be read, after retries.
        """

        def read(part: _Part) -> Run | None:
            table = _read_part(self.urls[part.file], part, wanted)
            return None if table is None else Run(table, part.file, part.first)

        yield from (run for run in prefetched(read, self._parts(), self._at_once) if run is not None)

    def _parts(self) -> Iterator[_Part]:
        for file, url in enumerate(self.urls):
            if not is_of_many(url):
                yield _Part(file, None, 0, None)
                continue
            of_many = _opened(url)
            if of_many is not None:
                for group, first in enumerate(of_many.groups[:-1]):
                    yield _Part(file, of_many, first, group)

    def ranges(self, wanted: Columns) -> Iterator[tuple[str, pa.Table]]:
        """The rows of each range, with its name, in order; what is damaged is passed over.

        Raises:
          StorageError: when one cannot be read, after retries.
        """
        for url in self.urls:
            if is_of_many(url):
                yield from _ranges_of_many(url, wanted)
            else:
                table = read_rows(url, wanted)
                if table is not None:
                    yield name_in(url), table

    def rows(self, file: int, numbers: Sequence[int]) -> list[InRange]:
        """These rows of a file that `tables` has read.

        Raises:
          StorageError: when it cannot be read, after retries.
        """
        url = self.urls[file]
        if not is_of_many(url):
            table = read_rows(url, lambda schema: schema.names)
            assert table is not None
            return [InRange(table.slice(row, 1), name_in(url), row) for row in numbers]
        of_many, found = ManyRanges(url), dict[int, InRange]()
        for number in sorted(numbers):
            place, row = of_many.place_of(number)
            found[number] = InRange(of_many.rows(place).slice(row, 1), of_many.ranges[place].name, row)
        return [found[number] for number in numbers]

    @property
    def _at_once(self) -> int:
        return _REMOTE_AT_ONCE if files.is_remote(self.output) else _AT_ONCE


class _Part(NamedTuple):
    """What is read at a time: a file of one range, or a row group of a file of many."""

    file: int
    of_many: ManyRanges | None
    first: int
    group: int | None


def files_of_ledger(output: str) -> LedgerFiles:
    """The ledger in an output directory.

    Raises:
      StorageError: when it cannot be listed, after retries.
    """
    return LedgerFiles(output, ledger_files(output))


def _opened(url: str) -> ManyRanges | None:
    try:
        found = ManyRanges(url)
    except pa.ArrowException:
        return None
    return found if is_ledger(schema_from_files(found.schema)) else None


def _ranges_of_many(url: str, wanted: Columns) -> Iterator[tuple[str, pa.Table]]:
    of_many = _opened(url)
    if of_many is None:
        return
    schemas = [schema_from_files(schema) for schema in of_many.contents.schemas]
    for place, one in enumerate(of_many.ranges):
        try:
            yield one.name, of_many.rows(place, wanted(schemas[one.columns]))
        except pa.ArrowException:
            return


def _read_part(url: str, part: _Part, wanted: Columns) -> pa.Table | None:
    if part.of_many is None or part.group is None:
        return read_rows(url, wanted)
    schema = part.of_many.schema
    try:
        return from_files(part.of_many.group(part.group, _stored(schema, wanted), _REPEATING))
    except pa.ArrowException:
        return None


def read_rows(url: str, wanted: Columns) -> pa.Table | None:
    """Columns of a file of one range; None for a file that is none of the ledger, or is damaged.

    Raises:
      StorageError: when it cannot be read, after retries.
    """
    content = files.read_bytes(url)
    try:
        file = pq.ParquetFile(pa.BufferReader(content), read_dictionary=_REPEATING)
        if not is_ledger(schema_from_files(file.schema_arrow)):
            return None
        return from_files(file.read(columns=_stored(file.schema_arrow, wanted), use_threads=False))
    except (pa.ArrowException, OSError):
        return None


def _stored(schema: pa.Schema, wanted: Columns) -> list[str]:
    """The columns that are wanted, as they are called in files."""
    ours = schema_from_files(schema)
    names = set(wanted(ours))
    return [stored for stored, name in zip(schema.names, ours.names, strict=True) if name in names]
