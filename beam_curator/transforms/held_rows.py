"""Rows of the ledger that a job in one process has just written, held for its report, which passes over them twice: to
decode them from Parquet takes longer than to count them.

They lie uncompressed in the temporary file of what waits between stages, some hundred bytes a row, those of many files
together: a range may have few rows. Where there is no such file, as on workers elsewhere, and for files of many ranges,
the report reads the ledger.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator, Sequence

import pyarrow as pa

from beam_curator.report.ledger_files import REPEATING, Columns, LedgerFiles, Piece, Run
from beam_curator.report.tally import columns_counted
from beam_curator.transforms import spilling

ROWS_TOGETHER, FILES_TOGETHER = 1 << 15, 256
"""So many rows lie together, or a few more, or the rows of so many files: a table of few rows takes far more memory
than these."""

_REPEATED = pa.dictionary(pa.int32(), pa.string())


@dataclasses.dataclass(frozen=True)
class _Block:
    """Rows that lie together.

    Attributes:
      place: where.
      files: the names of the files that they are of, each with the number of its first row among these.
    """

    place: bytes
    files: Sequence[tuple[str, int]]


class HeldRows:
    """The rows of some files of the ledger, of one pipeline; any thread may add some."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks: list[_Block] = []
        self._gathered: list[tuple[str, pa.Table]] = []
        self._rows = 0

    def add(self, name: str, table: pa.Table, file: spilling.SpillFile) -> None:
        """Holds the rows of a file of the ledger in a temporary file.

        Raises:
          JobError: where there is no room for them.
        """
        with self._lock:
            schema = table.schema
            if self._gathered and not schema.equals(self._gathered[0][1].schema, check_metadata=True):
                self._lay_down(file)
            self._gathered.append((name, table))
            self._rows += len(table)
            if self._rows >= ROWS_TOGETHER or len(self._gathered) >= FILES_TOGETHER:
                self._lay_down(file)

    def blocks(self, file: spilling.SpillFile) -> list[_Block]:
        """All rows that were added. Raises as `add`."""
        with self._lock:
            if self._gathered:
                self._lay_down(file)
            return list(self._blocks)

    def _lay_down(self, file: spilling.SpillFile) -> None:
        files, count = [], 0
        for name, of_file in self._gathered:
            files.append((_own_name(name), count))
            count += len(of_file)
        table = _counted(pa.concat_tables([of_file for _, of_file in self._gathered]))
        self._gathered, self._rows = [], 0
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        self._blocks.append(_Block(file.put(memoryview(sink.getvalue())), files))


def _counted(table: pa.Table) -> pa.Table:
    """The columns that both passes look at, as they are read from files."""
    names = columns_counted(table.schema)
    table = table.select([name for name in table.schema.names if name in names]).combine_chunks()
    for place, field in enumerate(table.schema):
        if field.name in REPEATING and pa.types.is_string(field.type):
            table = table.set_column(place, field.with_type(_REPEATED), table.column(place).dictionary_encode())
    return table


@dataclasses.dataclass(frozen=True)
class HeldFiles:
    """Files of a finished job's ledger whose rows are held.

    Attributes:
      blocks: where rows lie together, and what they are made of.
    """

    blocks: Sequence[tuple[bytes, Sequence[Piece]]]

    def tables(self, wanted: Columns) -> Iterator[Run]:
        """All rows, in any order, many at a time; as `LedgerFiles.tables`."""
        for place, pieces in self.blocks:
            table = pa.ipc.open_stream(spilling.fetched(place)).read_all()
            names = set(wanted(table.schema))
            yield Run(table.select([name for name in table.schema.names if name in names]), pieces)


def hold(name: str, table: pa.Table) -> None:
    """Holds the rows of a file of the ledger, if the pipeline that this thread runs has a report to write.

    Raises:
      JobError: where there is no room for them.
    """
    file = spilling.current_file()
    if file is not None and isinstance(file.held, HeldRows):
        file.held.add(name, table, file)


def held_files(ledger: LedgerFiles, groups: int) -> list[HeldFiles]:
    """The files of the ledger in so many groups, or fewer, if the pipeline that this thread runs holds the rows of all
    of them, each once; else none.

    Raises:
      JobError: where there was no room for them.
    """
    file = spilling.current_file()
    if file is None or not isinstance(file.held, HeldRows):
        return []
    blocks = file.held.blocks(file)
    number_of = {_own_name(url): number for number, url in enumerate(ledger.urls, ledger.first)}
    names = [name for block in blocks for name, _ in block.files]
    if len(names) != len(number_of) or set(names) != set(number_of):
        return []
    found = [(block.place, [Piece(row, number_of[name]) for name, row in block.files]) for block in blocks]
    most = max(1, -(-len(found) // groups))
    return [HeldFiles(found[at : at + most]) for at in range(0, len(found), most)]


def _own_name(url: str) -> str:
    return url.rpartition("/")[2]
