"""Counts the kept and dropped samples between the cuts of a measure, and how many each threshold would keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beam_curator.report.accumulators import Accumulator
from beam_curator.report.binning import NONE
from beam_curator.report.thresholds import AT_LEAST


class Histogram(Accumulator):
    """Counts of one measure.

    Attributes:
      edges: e cuts, ascending.
      kept: int64 [e + 1], the kept samples below the first cut, between cuts, and from the last one on.
      dropped: the same of dropped ones.
      nulls: kept and dropped samples without a value.
    """

    def __init__(self, edges: Sequence[float]) -> None:
        self.edges = list(edges)
        self.kept = np.zeros(len(edges) + 1, np.int64)
        self.dropped = np.zeros(len(edges) + 1, np.int64)
        self.nulls = [0, 0]

    def add(self, places: NDArray[np.int64], statuses: NDArray[np.int64]) -> None:
        """Counts n samples by their places between the cuts, and their statuses: 0 for dropped, 1 for kept; 2 for those
        that failed, which are left out."""
        size = len(self.kept) + 1
        found = np.bincount(statuses * size + places - NONE, minlength=3 * size).reshape(3, size)
        for index, (counts, which) in enumerate(((self.kept, found[1]), (self.dropped, found[0]))):
            counts += which[1:]
            self.nulls[index] += int(which[0])

    def merge(self, other: Histogram) -> None:
        """Adds what another one has counted between the same cuts."""
        self.kept, self.dropped = self.kept + other.kept, self.dropped + other.dropped
        self.nulls = [mine + its for mine, its in zip(self.nulls, other.nulls, strict=True)]

    def passing(self, keeps: str) -> NDArray[np.int64]:
        """Counts how many of the samples a threshold at each cut would keep if it were the only rule: int64 [e]."""
        both = self.kept + self.dropped
        below = np.cumsum(both)[:-1]
        return both.sum() - below if keeps == AT_LEAST else below

    def as_json(self) -> dict[str, Any]:
        """Makes the counts as JSON has them."""
        return {
            "edges": self.edges,
            "kept": self.kept.tolist(),
            "dropped": self.dropped.tolist(),
            "without": {"kept": self.nulls[0], "dropped": self.nulls[1]},
        }
