"""Chooses the samples that are shown: of all that a sheet is about, the few that come first in an order that nothing
changes.

Ranks that are equal are decided by a hash of where a sample stands in the input, so that a sheet has the same samples
whatever the order and the number of files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from beam_curator.report.accumulators import Accumulator
from beam_curator.report.view import View


class Place(NamedTuple):
    """The place of a row in the ledger: the file among its files, and the row in it."""

    file: int
    row: int


class First(Accumulator):
    """The first few rows by rank.

    Attributes:
      most: how many.
      texts: what these rows have in a column.
    """

    def __init__(self, most: int, column: str = "") -> None:
        """The first `most`, with what they have in a column of texts, if one is named."""
        self.most = most
        self.texts: list[str] = []
        self._column = column
        self._ranks = np.empty(0)
        self._identities = np.empty(0, np.uint64)
        self._places = np.empty((0, 2), np.int64)

    def add(self, view: View, rows: NDArray[np.int64], ranks: NDArray[np.float64]) -> None:
        """Adds m rows.

        Args:
          view: rows of the ledger.
          rows: int64 [m], which ones of these.
          ranks: float64 [m], the least come first.
        """
        if not len(rows):
            return
        limit = (
            self.last if len(ranks) <= self.most else min(self.last, np.partition(ranks, self.most - 1)[self.most - 1])
        )
        may = ranks <= limit
        rows, ranks = rows[may], ranks[may]
        if len(rows):
            texts = view.table[self._column].take(pa.array(rows)).to_pylist() if self._column else []
            self._add(ranks, view.identities[rows], view.stand(rows), texts)

    def merge(self, other: First) -> None:
        """Adds the first few of other rows."""
        self._add(other._ranks, other._identities, other._places, other.texts)

    def _add(
        self,
        ranks: NDArray[np.float64],
        identities: NDArray[np.uint64],
        places: NDArray[np.int64],
        texts: Sequence[str],
    ) -> None:
        """Adds rows, and keeps the first. Of rows whose identities are the same as well, as those of shards of one
        name, the place decides."""
        ranks, identities = np.concatenate([self._ranks, ranks]), np.concatenate([self._identities, identities])
        places = np.concatenate([self._places, places])
        first = np.lexsort([places[:, 1], places[:, 0], identities, ranks])[: self.most]
        self._ranks, self._identities, self._places = ranks[first], identities[first], places[first]
        together = [*self.texts, *texts]
        self.texts = [together[row] for row in first.tolist()] if together else []

    @property
    def last(self) -> float:
        """The highest rank with which a row may come among them."""
        return float(self._ranks[-1]) if len(self._ranks) == self.most else np.inf

    @property
    def places(self) -> list[Place]:
        """The places of the samples, the first one first."""
        return [Place(file, row) for file, row in self._places.tolist()]


@dataclasses.dataclass(frozen=True)
class Sheet:
    """Samples that are shown together.

    Attributes:
      group: what the sheet is among: `THRESHOLDS`, `SCORES`, `RANDOM`, `RULES` or `FAILURES`.
      title: what it shows.
      column: the score that it is about, or "".
      first: the samples.
    """

    group: str
    title: str
    column: str
    first: First


THRESHOLDS, SCORES, RANDOM, RULES, FAILURES = "thresholds", "scores", "random", "rules", "failures"
