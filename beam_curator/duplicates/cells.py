"""Cells of unit vectors, so that only neighbours have to be compared, and none is missed.

Each vector lives in one cell, its home. Let c_i be the centre of the home of x, and

  h_j(x) = (|x - c_j|^2 - |x - c_i|^2) / (2 |c_i - c_j|)

the distance of x to the plane between that cell and cell j. x is a *guest* in each cell j with h_j(x) <= reach. In each
cell residents are compared with residents, and with guests.

With reach = r / 2 every pair of vectors with |x - y| <= r meets: let x live in cell i and y in cell j. h_j(x) + h_i(y)
is the length of x - y along c_i - c_j, so it is at most r, and one of the two is at most r / 2: that one is a guest in
the other's home. So cells change how long it takes, never what is found. The method of SemDeDup (arXiv 2303.09540),
which compares within cells alone, misses the pairs that a border parts.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

_ITERATIONS = 6
_SAMPLED_PER_CELL = 12
MOST_CELLS = 4096

Directions = NDArray[np.float32]
Map = Callable[[Callable[[Directions], NDArray[np.int64]], Iterable[Directions]], Iterable[NDArray[np.int64]]]


def cells_for(vectors: int, new: int | None = None) -> int:
    """With how many cells to begin: comparing and assigning vectors then take about as long, if few are guests.

    Args:
      vectors: how many there are.
      new: how many of them have to be compared with all, if not all.
    """
    wanted = round(1.5 * (vectors if new is None else min(new, vectors)) ** 0.5)
    return int(min(max(1, wanted), MOST_CELLS)) if vectors > 4096 else 1


def sample_size(cells: int) -> int:
    """How many vectors the centres of so many cells are made from."""
    return _SAMPLED_PER_CELL * cells


def making(cells: int) -> int:
    """How many products it takes to make so many centres."""
    return sample_size(cells) * cells * (_ITERATIONS + 1)


def in_drawing_order(ids: NDArray[np.void], seed: int) -> NDArray[np.int64]:
    """All vectors as they are drawn: by name, whatever their order."""
    return np.argsort(ids)[np.random.default_rng(seed).permutation(len(ids))]


def sampled(drawn: NDArray[np.int64], count: int, but: int = 0) -> NDArray[np.int64]:
    """So many of the vectors that are drawn, or all there are: others than the first `but`, where there are more."""
    start = max(0, min(but, len(drawn) - count))
    return drawn[start : start + count]


def centres_of(sample: Directions, cells: int, each: Map = map) -> Directions:
    """The centres of cells: float32 [cells, dim], by Lloyd's algorithm on unit vectors, begun with the first ones.

    Args:
      sample: unit vectors [m, dim].
      cells: how many cells; fewer are made of a smaller sample.
      each: `map`, or that of several threads.
    """
    centres, parts = sample[:cells].copy(), np.array_split(sample, 16)
    for _ in range(_ITERATIONS if len(sample) > cells else 0):
        home = np.concatenate(list(each(functools.partial(_nearest, centres), parts)))
        order = np.argsort(home, kind="stable")
        filled, starts = np.unique(home[order], return_index=True)
        sums = np.add.reduceat(sample[order], starts, axis=0)
        centres[filled] = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return centres


def _nearest(centres: Directions, vectors: Directions) -> NDArray[np.int64]:
    return _dots(vectors, centres).argmax(axis=1)


def apart(centres: Directions, gap: float) -> Directions:
    """The centres without those that are within `gap` of an earlier one.

    Where two cells are that near, most of what lives in one is a guest in the other. A picture of which there are many
    near copies would have many such cells, and all copies would be compared in each of them.
    """
    squares = np.einsum("ij,ij->i", centres, centres)
    near = squares[:, None] + squares[None, :] - 2 * _dots(centres, centres) <= gap**2
    stays = np.ones(len(centres), bool)
    for index in range(len(centres)):
        if stays[index]:
            stays[index + 1 :] &= ~near[index, index + 1 :]
    return centres[stays]


def _rounding(centres: Directions) -> float:
    """By how much the difference of two dot products with centres may be off, at most."""
    return 2.0**-22 * (centres.shape[1] + 8)


def _dots(vectors: Directions, centres: Directions) -> NDArray[np.float32]:
    return vectors @ centres.T


@dataclasses.dataclass(frozen=True)
class Cells:
    """Centres, and who is a guest.

    Attributes:
      centres: float32 [cells, dim].
      reach: how near to the plane between two cells a vector has to be to be a guest beyond it.
    """

    centres: Directions
    reach: float

    @property
    def _gaps(self) -> NDArray[np.float32]:
        """The distances between centres, at least: float32 [cells, cells]."""
        squares = np.einsum("ij,ij->i", self.centres, self.centres)
        between = squares[:, None] + squares[None, :] - 2 * _dots(self.centres, self.centres)
        return np.sqrt(np.maximum(between, 0) + np.float32(2 * _rounding(self.centres)))

    def prepared(self) -> Assigning:
        """What assigns vectors to these cells."""
        halves = np.einsum("ij,ij->i", self.centres, self.centres) / 2
        tolerances = self._gaps * np.float32(self.reach) + np.float32(_rounding(self.centres))
        return Assigning(self.centres, halves, tolerances)


@dataclasses.dataclass(frozen=True)
class Assigning:
    """Says which cells vectors are in.

    Attributes:
      centres: float32 [cells, dim].
      halves: half the squared length of each centre: float32 [cells].
      tolerances: float32 [cells, cells]: of how much nearer in x.c - |c|^2 / 2 a vector's home may be than a cell in
        which it is a guest.
    """

    centres: Directions
    halves: NDArray[np.float32]
    tolerances: NDArray[np.float32]

    def assign(self, vectors: Directions) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
        """The homes of some vectors, int32 [n], and their visits: which vector, and in which cell: int32 [m] twice."""
        nearness = _dots(vectors, self.centres)
        nearness -= self.halves
        home = nearness.argmax(axis=1)
        best = nearness[np.arange(len(vectors)), home]
        farthest = best - self._largest[home] - np.float32(1e-6)
        guest, cell = np.divmod(np.flatnonzero(nearness >= farthest[:, None]), len(self.centres))
        near = best[guest] - nearness[guest, cell] <= self.tolerances[home[guest], cell]
        near &= home[guest] != cell
        return home.astype(np.int32), guest[near].astype(np.int32), cell[near].astype(np.int32)

    @functools.cached_property
    def _largest(self) -> NDArray[np.float32]:
        """The largest tolerance of each home: float32 [cells]."""
        return np.asarray(self.tolerances.max(axis=1))
