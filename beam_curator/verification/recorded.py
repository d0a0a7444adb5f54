"""The ledger's rows of each range, as ranges come in the order of the input: from a file each, or from files of many.

The manifest says how many ranges a file holds, so which file is due follows from the input alone.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import Any

import pyarrow as pa
from apache_beam.io.filesystem import BeamIOError

from beam_curator import rows
from beam_curator.errors import first_line
from beam_curator.output import ledger
from beam_curator.output.many_ranges import ManyRanges
from beam_curator.samples import ShardRange
from beam_curator.verification.differences import Difference
from beam_curator.verification.finished import FinishedJob

UNREADABLE = (OSError, BeamIOError, pa.ArrowException)
"""The errors that reading a file may raise that is absent, damaged, or out of reach."""


class RecordedIn:
    """The ledger, and which range of it is looked at.

    Attributes:
      file: the one that has the rows of that range, under the output directory.
    """

    def __init__(self, finished: FinishedJob) -> None:
        self._finished = finished
        self._per_file = _ranges_per_file(finished.manifest)
        self._place = -1
        self._range: ShardRange | None = None
        self._open: ManyRanges | None = None
        self._damaged = False
        self.file = ""

    def turn_to(self, range: ShardRange) -> Iterator[Difference]:
        """Looks at the next range; tells what is wrong with the file that is done with, as a whole."""
        self._place, self._range = self._place + 1, range
        if self._per_file == 1:
            self.file = ledger.ledger_name(range)
            return
        if self._place % self._per_file == 0:
            yield from self._left_over(self._per_file)
            self.file = ledger.name_of_many(self._place // self._per_file)
            self._open, self._damaged = None, False

    def finish(self) -> Iterator[Difference]:
        """Checks, after the last range, that the last file of the ledger has rows of no other."""
        yield from self._left_over(self._place % self._per_file + 1)

    def _left_over(self, due: int) -> Iterator[Difference]:
        if self._open is not None and len(self._open.ranges) > due:
            yield Difference(self.file, f"has rows of {self._open.ranges[due].name}, which is no range of the input")

    def rows(self) -> Generator[Difference, None, pa.Table | None]:
        """The rows of the range, if they are there. Of a file of many that cannot be read one difference is told."""
        if self._damaged:
            return None
        try:
            table = self._read()
        except UNREADABLE as error:
            self._damaged = self._per_file > 1
            yield Difference(self.file, f"cannot be read: {first_line(error)}")
            return None
        if table is None:
            assert self._range is not None
            yield Difference(self.file, f"has not the rows of {self._range.name} where they should be")
            return None
        facts = rows.fields_there(table.schema)
        due = [field for field in (*facts, *rows.OUTCOME) if rows.role_of(field) != rows.INTERNAL]
        there = table.schema
        wrong = [one.name for one in due if one.name not in there.names or there.field(one.name) != one]
        if wrong:
            yield Difference(self.file, f"has no column {wrong[0]}, or one of another type")
            return None
        return table

    def _read(self) -> pa.Table | None:
        url = self._finished.path(self.file)
        if self._per_file == 1:
            return ledger.read_table(url)
        if self._open is None:
            self._open = ManyRanges(url)
        place = self._place % self._per_file
        there = self._open.ranges[place : place + 1]
        assert self._range is not None
        return self._open.rows(place) if there and there[0].name == self._range.name else None


def _ranges_per_file(manifest: Mapping[str, Any]) -> int:
    told = manifest.get("ledger")
    count = told.get("ranges_per_file") if isinstance(told, Mapping) else None
    return count if isinstance(count, int) and count > 0 else 1
