"""The rows of the ledger, file after file in the order of their names: few rows are in memory at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from beam_curator.errors import StorageError
from beam_curator.output.belonging import ledger_files
from beam_curator.output.checked_parquet import told_if_damaged, with_whole_texts
from beam_curator.output.column_names import schema_from_files
from beam_curator.output.ledger import is_of_many
from beam_curator.output.many_ranges import ManyRanges, name_in
from beam_curator.report.columns import is_ledger
from beam_curator.storage import files, urls
from beam_curator.storage.read_ahead import prefetched

REPEATING = ["shard", "status", "reason", "format"]
"""Columns that are decoded to numbers of a few texts, not to a text for each row."""

_AT_ONCE = 3
_REMOTE_AT_ONCE = 16

Columns = Callable[[pa.Schema], Sequence[str]]
"""The columns to read, given what a file has: an older release's may lack some."""


_ROWS_TOGETHER, _BYTES_TOGETHER = 1 << 15, 1 << 24
"""Rows are looked at so many at a time: of few rows calls take longer than their work."""


class Piece(NamedTuple):
    """Rows of a run that stand together in a file of the ledger.

    Attributes:
      row: which row of the run the first one is.
      file: the file's place among all.
      first: which row of the file the first one is.
    """

    row: int = 0
    file: int = 0
    first: int = 0


class Run(NamedTuple):
    """Rows that follow each other in the ledger.

    Attributes:
      table: n rows.
      pieces: what they are made of, in order.
    """

    table: pa.Table
    pieces: Sequence[Piece]


class InRange(NamedTuple):
    """A row of a file, told by its range.

    Attributes:
      table: one row, with the columns that are wanted.
      range: the name of the range.
      row: which row of the range it is.
    """

    table: pa.Table
    range: str
    row: int


@dataclasses.dataclass(frozen=True)
class LedgerFiles:
    """The files of a finished job's ledger, or some of them that follow each other.

    Attributes:
      output: the output directory.
      urls: theirs, in the order of their names.
      first: the place of the first one among all.
    """

    output: str
    urls: Sequence[str]
    first: int = 0

    def groups(self, most: int) -> list[LedgerFiles]:
        """The same files, at most so many together; at least one group, which may be empty."""
        starts = range(0, max(1, len(self.urls)), most)
        return [LedgerFiles(self.output, self.urls[at : at + most], self.first + at) for at in starts]

    def tables(self, wanted: Columns) -> Iterator[Run]:
        """All rows, in order, many at a time. A file that is none of the ledger is passed over: counts tell if one is
        missing.

        Raises:
          StorageError: when one cannot be read, after retries, or is damaged behind what it says of itself.
        """

        stored = _Stored(wanted)

        def read(part: _Part) -> Run | None:
            table = _read_part(self.urls[part.file - self.first], part, stored)
            return None if table is None else Run(table, [Piece(0, part.file, part.first)])

        for run in _joined(run for run in prefetched(read, self._parts(), self._at_once) if run is not None):
            yield run._replace(table=stored.renamed(run.table))

    def _parts(self) -> Iterator[_Part]:
        for file, url in enumerate(self.urls, self.first):
            if not is_of_many(url):
                yield _Part(file, None, 0, None)
                continue
            of_many = _opened(url)
            if of_many is not None:
                for group, first in enumerate(of_many.groups[:-1]):
                    yield _Part(file, of_many, first, group)

    def ranges(self, wanted: Columns) -> Iterator[tuple[str, pa.Table]]:
        """The rows of each range, with its name, in order; as `tables`.

        Raises:
          StorageError: as `tables`.
        """
        for url in self.urls:
            if is_of_many(url):
                yield from _ranges_of_many(url, wanted)
            else:
                table = read_rows(url, wanted)
                if table is not None:
                    yield name_in(url), table

    def rows(self, numbers: Mapping[int, Sequence[int]], wanted: Columns) -> Iterator[tuple[int, list[InRange]]]:
        """Reads these rows of some files that `tables` has read; yields them by the place of the file.

        Raises:
          StorageError: as `tables`, and when a file is none of the ledger any more.
        """
        stored = _Stored(wanted)

        def read(file: int) -> tuple[int, list[InRange]]:
            return file, self._rows(file, numbers[file], wanted, stored)

        yield from prefetched(read, numbers, self._at_once)

    def _rows(self, file: int, numbers: Sequence[int], wanted: Columns, stored: _Stored) -> list[InRange]:
        url = self.urls[file - self.first]
        if not is_of_many(url):
            table = _renamed(url, stored)
            if table is None:
                raise StorageError(f"{url} is no file of the ledger any more: run the job again, which makes it anew")
            return [InRange(table.slice(row, 1), name_in(url), row) for row in numbers]
        found: dict[int, InRange] = {}
        with told_if_damaged(url):
            of_many = ManyRanges(url)
            for number in sorted(numbers):
                place, row = of_many.place_of(number)
                one = of_many.ranges[place]
                columns = wanted(schema_from_files(of_many.contents.schemas[one.columns]))
                found[number] = InRange(of_many.rows(place, columns).slice(row, 1), one.name, row)
        return [found[number] for number in numbers]

    @property
    def _at_once(self) -> int:
        return _REMOTE_AT_ONCE if urls.is_remote(self.output) else _AT_ONCE


def _joined(runs: Iterable[Run]) -> Iterator[Run]:
    """The same rows, many at a time, as far as those that follow each other have the same columns."""
    held: list[Run] = []
    count = size = 0
    for run in runs:
        run_bytes = run.table.get_total_buffer_size()
        full = count + len(run.table) > _ROWS_TOGETHER or size + run_bytes > _BYTES_TOGETHER
        if held and (full or not run.table.schema.equals(held[0].table.schema, check_metadata=True)):
            yield _as_one(held)
            held, count, size = [], 0, 0
        held.append(run)
        count, size = count + len(run.table), size + run_bytes
    if held:
        yield _as_one(held)


def _as_one(runs: Sequence[Run]) -> Run:
    pieces, count = [], 0
    for run in runs:
        pieces += [piece._replace(row=count + piece.row) for piece in run.pieces]
        count += len(run.table)
    return Run(pa.concat_tables([run.table for run in runs]), pieces)


class _Part(NamedTuple):
    """The part of the ledger that is read at a time: a file of one range, or a row group of a file of many."""

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
        with told_if_damaged(url):
            table = of_many.rows(place, wanted(schemas[one.columns]))
        yield one.name, table


class _Stored:
    """The columns that are wanted, as files call them. Most files have the same: they are asked for once."""

    def __init__(self, wanted: Columns) -> None:
        self._wanted = wanted
        self._last: tuple[pa.Schema, list[str] | None] | None = None
        self._read: tuple[pa.Schema, pa.Schema] | None = None

    def names(self, schema: pa.Schema) -> list[str] | None:
        """Gives the names of the columns that are read of a file with this schema; None for a file that is none of the
        ledger."""
        last = self._last
        if last is None or not last[0].equals(schema, check_metadata=True):
            last = self._last = schema, self._names(schema)
        return last[1]

    def renamed(self, table: pa.Table) -> pa.Table:
        """Names the columns of a table that was read as the ledger does: see `column_names`."""
        last = self._read
        if last is None or not last[0].equals(table.schema, check_metadata=True):
            last = self._read = table.schema, schema_from_files(table.schema)
        return pa.Table.from_arrays(table.columns, schema=last[1])

    def _names(self, schema: pa.Schema) -> list[str] | None:
        ours = schema_from_files(schema)
        if not is_ledger(ours):
            return None
        names = set(self._wanted(ours))
        return [stored for stored, name in zip(schema.names, ours.names, strict=True) if name in names]


def _read_part(url: str, part: _Part, stored: _Stored) -> pa.Table | None:
    """Its columns are called as in files: of rows that are joined they are renamed once."""
    if part.of_many is None or part.group is None:
        return _read(url, stored)
    names = stored.names(part.of_many.schema)
    with told_if_damaged(url):
        return None if names is None else part.of_many.group(part.group, names, REPEATING)


def read_rows(url: str, wanted: Columns) -> pa.Table | None:
    """Columns of a file of one range; None for a file that is none of the ledger.

    Raises:
      StorageError: when it cannot be read, after retries, or is damaged behind what it says of itself.
    """
    return _renamed(url, _Stored(wanted))


def _renamed(url: str, stored: _Stored) -> pa.Table | None:
    found = _read(url, stored)
    return None if found is None else stored.renamed(found)


def _read(url: str, stored: _Stored) -> pa.Table | None:
    content = files.read_bytes(url)
    try:
        file = pq.ParquetFile(pa.BufferReader(content), read_dictionary=REPEATING)
        names = stored.names(file.schema_arrow)
    except (pa.ArrowException, OSError):
        return None
    with told_if_damaged(url):
        return None if names is None else with_whole_texts(file.read(columns=names, use_threads=False))
