"""Reads the ledger that stands in an output directory, range by range in the order of the input."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from beam_curator import rows
from beam_curator.output.checked_parquet import told_if_damaged
from beam_curator.output.ledger import ledger_name, name_of_many
from beam_curator.output.many_ranges import ManyRanges
from beam_curator.samples import ShardRange
from beam_curator.storage import files, urls


class StandingLedger:
    """The ledger in an output directory, however many ranges each of its files holds; two of them are in memory."""

    def __init__(self, output: str) -> None:
        self._output = output
        self._begin()

    def _begin(self) -> None:
        self._open, self._next = _OfMany.read(self._output, 0), _OfMany.read(self._output, 1)

    def kept(self, range: ShardRange) -> NDArray[np.bool_] | None:
        """Tells which samples of a range it keeps: bool [n]; None where it has none of them.

        Raises:
          StorageError: when it cannot be read, after retries, or is damaged.
        """
        table = self._alone(range) if self._open is None else self._among_many(self._open, range)
        return None if table is None else rows.status_is(table, rows.KEPT)

    def _alone(self, range: ShardRange) -> pa.Table | None:
        url = urls.join(self._output, *ledger_name(range).split("/"))
        if not files.exists(url):
            return None
        content = files.read_bytes(url)
        with told_if_damaged(url):
            return pq.read_table(pa.BufferReader(content), columns=["status"])

    def _among_many(self, open: _OfMany, range: ShardRange) -> pa.Table | None:
        """Finds a range's rows in the last file whose first range does not come after this one."""
        key = (range.url, range.start)
        if key < open.file.contents.first and open.number:
            self._begin()
        while self._next is not None and self._next.file.contents.first <= key:
            self._open, self._next = self._next, _OfMany.read(self._output, self._next.number + 1)
        return None if self._open is None else self._open.status(range.name)


class _OfMany:
    """A file of many ranges, and where each of them is in it."""

    def __init__(self, file: ManyRanges, number: int) -> None:
        self.file, self.number = file, number
        self._places = {one.name: place for place, one in enumerate(file.ranges)}

    @classmethod
    def read(cls, output: str, number: int) -> _OfMany | None:
        """The file of this number, if it is there."""
        url = urls.join(output, *name_of_many(number).split("/"))
        if not files.exists(url):
            return None
        with told_if_damaged(url):
            return cls(ManyRanges(url), number)

    def status(self, name: str) -> pa.Table | None:
        """The outcomes of a range."""
        place = self._places.get(name)
        if place is None:
            return None
        with told_if_damaged(self.file.url):
            return self.file.rows(place, ["status"])
