"""Which samples are shown: of all that a sheet is about, the few that come first in an order that nothing changes.

Ranks that are equal are decided by a hash of where a sample stands in the input, so that a sheet has the same samples
whatever the order and the number of files.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from beam_curator.report.view import View


class Place(NamedTuple):
    """Where a row stands in the ledger: the file among its files, and the row in it."""

    file: int
    row: int


class First:
    """The first few rows by rank.

    Attributes:
      most: how many.
    """

    def __init__(self, most: int) -> None:
        self.most = most
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
        may = ranks <= self.last
        rows, ranks = rows[may], ranks[may]
        if not len(rows):
            return
        self._keep(
            np.concatenate([self._ranks, ranks]),
            np.concatenate([self._identities, view.identities[rows]]),
            np.concatenate([self._places, view.stand(rows)]),
        )

    def _keep(self, ranks: NDArray[np.float64], identities: NDArray[np.uint64], places: NDArray[np.int64]) -> None:
        first = np.lexsort([identities, ranks])[: self.most]
        self._ranks, self._identities, self._places = ranks[first], identities[first], places[first]

    @property
    def last(self) -> float:
        """The highest rank with which a row may come among them."""
        return float(self._ranks[-1]) if len(self._ranks) == self.most else np.inf

    @property
    def places(self) -> list[Place]:
        """Where they stand, the first one first."""
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
