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
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from beam_curator.duplicates.products import Directions, Proposing, numpy_products
from beam_curator.duplicates.scratch import counted, in_ascending_order, laid_aside

_ITERATIONS = 6
_REFINED = 2
"""The times that all centres are moved to the middle of their cells: of few, begun anywhere; of many, begun in
groups."""

_FEW = 64
_SAMPLED_PER_CELL = 12
MOST_CELLS = 16384
_ROWS_AT_A_TIME = 32
_PAIRS_AT_A_TIME = 1024
_COLUMNS_AT_A_TIME = 8

_MOST_ROWS, _MOST_PRODUCTS = 2048, 1 << 22
"""The most vectors that a thread multiplies with all centres at once, and the most products: 17 MB, of as many cells as
there may be."""

Map = Callable[[Callable[[Directions], NDArray[np.int64]], Iterable[Directions]], Iterable[NDArray[np.int64]]]


def cells_for(vectors: int, new: int | None = None) -> int:
    """Chooses how many cells to begin with: comparing and assigning vectors then take about as long, if few are guests.

    Args:
      vectors: how many there are.
      new: how many of them have to be compared with all, if not all.
    """
    wanted = round(1.5 * (vectors if new is None else min(new, vectors)) ** 0.5)
    return int(min(max(1, wanted), MOST_CELLS)) if vectors > 4096 else 1


def rows_at_a_time(cells: int) -> int:
    """Says how many vectors a thread multiplies with so many centres at once."""
    return max(1, min(_MOST_ROWS, _MOST_PRODUCTS // cells))


def sample_size(cells: int) -> int:
    """Says how many vectors the centres of so many cells are made from."""
    return _SAMPLED_PER_CELL * cells


def making(cells: int) -> int:
    """Counts the products that it takes to make so many centres."""
    return sample_size(cells) * cells * (_REFINED + 1 if cells > _FEW else _ITERATIONS + 1)


def in_drawing_order(ids: NDArray[np.void], seed: int, most: int) -> NDArray[np.int64]:
    """The first vectors that are drawn, at most so many: by name, whatever their order."""
    by_name = laid_aside(in_ascending_order(ids), np.int32)
    places = counted(len(ids), np.int32)
    np.random.default_rng(seed).shuffle(places)
    return by_name[places[:most]].astype(np.int64)


def sampled(drawn: NDArray[np.int64], count: int, but: int = 0) -> NDArray[np.int64]:
    """Takes `count` of the vectors that are drawn, or all there are: others than the first `but`, where there are
    more."""
    start = max(0, min(but, len(drawn) - count))
    return drawn[start : start + count]


def centres_of(sample: Directions, cells: int, each: Map = map, products: Proposing = numpy_products) -> Directions:
    """The centres of cells: float32 [cells, dim], by Lloyd's algorithm on unit vectors; many lie in temporary files.

    Many are begun in groups: the sample is cut into about as many parts as each of them gets centres. So few clumps of
    vectors are left without one, and all centres have to be moved together hardly ever, which is what takes long.

    Args:
      sample: unit vectors [m, dim], in an order that means nothing.
      cells: how many cells; fewer are made of a smaller sample.
      each: `map`, or that of several threads.
      products: makes the products.
    """
    if len(sample) <= cells:
        return _laid_aside([sample], sample)
    if cells <= _FEW:
        return _moved(sample, sample[:cells].copy(), _ITERATIONS, each, products)
    return _moved(sample, _in_groups(sample, cells, each), _REFINED, each, products)


def _in_groups(sample: Directions, cells: int, each: Map) -> Directions:
    """Centres of parts of the sample: of each as many as it has vectors."""
    groups = _moved(sample, sample[: round(cells**0.5)].copy(), _ITERATIONS, each, numpy_products)
    home = _homes(sample, groups, each, numpy_products)
    shares = np.rint(np.cumsum(np.bincount(home, minlength=len(groups))) * (cells / len(sample))).astype(np.int64)

    def of_groups() -> Iterator[Directions]:
        for group, share in enumerate(np.diff(shares, prepend=0).tolist()):
            if share:
                part = sample[home == group]
                yield _moved(part, part[:share].copy(), _ITERATIONS, map, numpy_products)

    return _laid_aside(of_groups(), sample)


def _laid_aside(pieces: Iterable[Directions], like: Directions) -> Directions:
    return laid_aside(pieces, np.float32, like.shape[1])


def _moved(sample: Directions, centres: Directions, times: int, each: Map, products: Proposing) -> Directions:
    """The centres, each so many times moved to the middle of what is nearest to it."""
    for _ in range(times):
        home = _homes(sample, centres, each, products)
        order = np.argsort(home, kind="stable")
        filled, starts = np.unique(home[order], return_index=True)
        for first in range(0, sample.shape[1], _COLUMNS_AT_A_TIME):
            some = slice(first, first + _COLUMNS_AT_A_TIME)
            centres[filled, some] = np.add.reduceat(sample[order, some], starts, axis=0)
        for first in range(0, len(filled), _ROWS_AT_A_TIME):
            few = filled[first : first + _ROWS_AT_A_TIME]
            centres[few] /= np.maximum(np.linalg.norm(centres[few], axis=1, keepdims=True), 1e-12)
    return centres


def _homes(sample: Directions, centres: Directions, each: Map, products: Proposing) -> NDArray[np.int64]:
    """Finds the centre that is nearest to each vector: int64 [m]."""
    parts = np.array_split(sample, max(16, len(sample) // rows_at_a_time(len(centres))))

    def nearest(part: Directions) -> NDArray[np.int64]:
        return products(part, centres).argmax(axis=1)

    return np.concatenate(list(each(nearest, parts)))


def apart(centres: Directions, gap: float) -> Directions:
    """The centres without those that are within `gap` of an earlier one.

    Where two cells are that near, most of what lives in one is a guest in the other. A picture of which there are many
    near copies would have many such cells, and all copies would be compared in each of them.
    """
    stays = np.ones(len(centres), bool)
    for start, squares in _squares_between(centres):
        near = squares <= gap**2
        for row, index in enumerate(range(start, start + len(near))):
            if stays[index]:
                stays[index + 1 :] &= ~near[row, index + 1 :]
    starts = range(0, len(centres), _ROWS_AT_A_TIME)
    pieces = (slice(start, start + _ROWS_AT_A_TIME) for start in starts)
    return _laid_aside((centres[some][stays[some]] for some in pieces), centres)


def _squares_between(centres: Directions) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The squared distances of some centres, from the one of this number on, to all: float32 [m, cells]."""
    squares = np.einsum("ij,ij->i", centres, centres)
    for start in range(0, len(centres), _ROWS_AT_A_TIME):
        some = slice(start, start + _ROWS_AT_A_TIME)
        yield start, squares[some, None] + squares[None, :] - 2 * numpy_products(centres[some], centres)


def _rounding(centres: Directions) -> float:
    """Bounds the rounding error of the difference of two dot products with centres."""
    return 2.0**-22 * (centres.shape[1] + 8)


@dataclasses.dataclass(frozen=True)
class Cells:
    """Centres, and who is a guest.

    Attributes:
      centres: float32 [cells, dim].
      reach: how near to the plane between two cells a vector has to be to be a guest beyond it.
    """

    centres: Directions
    reach: float

    def prepared(self, products: Proposing = numpy_products) -> Assigning:
        """Makes what assigns vectors to these cells, by products that are made in this way."""
        squares = np.einsum("ij,ij->i", self.centres, self.centres)
        farthest = [between.max(axis=1) for _, between in _squares_between(self.centres)]
        largest = self._tolerances(np.concatenate([np.zeros(0, np.float32), *farthest]))
        return Assigning(self.centres, squares / 2, largest, self._tolerances, products)

    def _tolerances(self, squares: NDArray[np.float32]) -> NDArray[np.float32]:
        """Computes how much nearer in x.c - |c|^2 / 2 a vector's home may be, at least, than a cell in which it is a
        guest; from the squared distances of both centres."""
        rounding = np.float32(_rounding(self.centres))
        gaps = np.sqrt(np.maximum(squares, 0) + 2 * rounding)
        return np.asarray(gaps * np.float32(self.reach) + rounding)


@dataclasses.dataclass(frozen=True)
class Assigning:
    """Says which cells vectors are in.

    Attributes:
      centres: float32 [cells, dim].
      halves: half the squared length of each centre: float32 [cells].
      largest: the largest tolerance of each home: float32 [cells].
      tolerances: gives the tolerances of pairs of cells from the squared distances of their centres.
      products: makes the products of vectors and centres.
    """

    centres: Directions
    halves: NDArray[np.float32]
    largest: NDArray[np.float32]
    tolerances: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    products: Proposing

    def assign(self, vectors: Directions) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
        """The homes of some vectors, int32 [n], and their visits: which vector, and in which cell: int32 [m] twice."""
        nearness = self.products(vectors, self.centres)
        nearness -= self.halves
        home = nearness.argmax(axis=1)
        best = nearness[np.arange(len(vectors)), home]
        farthest = best - self.largest[home] - np.float32(1e-6)
        guest, cell = np.divmod(np.flatnonzero(nearness >= farthest[:, None]), len(self.centres))
        elsewhere = home[guest] != cell
        guest, cell = guest[elsewhere], cell[elsewhere]
        near = best[guest] - nearness[guest, cell] <= self._between(home[guest], cell)
        return home.astype(np.int32), guest[near].astype(np.int32), cell[near].astype(np.int32)

    def _between(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float32]:
        """The tolerances of pairs of cells: float32 [m]."""
        found = np.empty(len(one), np.float32)
        for start in range(0, len(one), _PAIRS_AT_A_TIME):
            some = slice(start, start + _PAIRS_AT_A_TIME)
            dots = np.einsum("ij,ij->i", self.centres[one[some]], self.centres[other[some]])
            found[some] = 2 * (self.halves[one[some]] + self.halves[other[some]] - dots)
        return self.tolerances(found)
