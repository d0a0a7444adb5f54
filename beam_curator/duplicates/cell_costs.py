"""Estimates from some vectors what cells would cost, so that as many are made as are cheapest.

Who is a guest where depends on how vectors lie. Where they lie in more clumps than there are cells, most have no centre
near them and are guests of many cells; with more cells than clumps they are in hardly more than one.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from beam_curator.duplicates.cells import Assigning, Directions, Map, making, rows_at_a_time

_MET = 2048
"""The other residents that a vector of a large cell is supposed to meet: of near copies of one picture, which no cells
part, each meets some alone."""

_MOST_VISITS = 1 / 8


@dataclasses.dataclass(frozen=True)
class Extent:
    """The number of vectors that are to be compared.

    Attributes:
      vectors: how many there are.
      new: how many of them have to be compared with all.
    """

    vectors: int
    new: int


@dataclasses.dataclass(frozen=True)
class CellCosts:
    """The costs of some cells, estimated from vectors that they were not made from.

    Attributes:
      cells: how many there are; a vector is multiplied with the centre of each.
      visits: as how many cells' guest a vector is, on average.
      products: how many others it is multiplied with, on average.
    """

    cells: int
    visits: float
    products: float

    @classmethod
    def of(cls, assigning: Assigning, some: Directions, extent: Extent, each: Map = map) -> CellCosts:
        """Counts the costs for some vectors, float32 [m, dim], that the cells were not made from.

        Args:
          assigning: to the cells.
          some: the vectors.
          extent: all that will be in the cells.
          each: `map`, or that of several threads.
        """
        cells = len(assigning.centres)

        def counted(part: Directions) -> NDArray[np.int64]:
            home, _, cell = assigning.assign(part)
            return np.stack([np.bincount(home, minlength=cells), np.bincount(cell, minlength=cells)])

        size = rows_at_a_time(cells)
        parts = (some[start : start + size] for start in range(0, len(some), size))
        residents, guests = np.sum(list(each(counted, parts)), axis=0)
        more = extent.vectors / len(some)
        met = np.minimum(more * np.maximum(residents - 1, 0), _MET) + more * guests
        share = min(1.0, 2 * extent.new / extent.vectors)
        return cls(cells, float(guests.sum() / len(some)), float((residents * met).sum() / len(some) * share))

    @property
    def in_all(self) -> float:
        """The number of products that a vector takes."""
        return self.cells + self.products

    @property
    def everywhere(self) -> bool:
        """Whether vectors are guests nearly everywhere, so that cells part nothing."""
        return self.visits > _MOST_VISITS * self.cells

    def more_may_pay(self, cells: int, extent: Extent) -> bool:
        """Whether it may be cheaper with so many cells instead, and that by more than it takes to make them."""
        return not self.everywhere and cells + making(cells) / extent.vectors < self.in_all
