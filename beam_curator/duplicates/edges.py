"""Pairs of duplicates, and what is known of them.

Whatever is compared (embeddings, hashes) is first made distinct: a *class* is all samples that have the same one, and
edges are between classes. Classes are numbered by rank: the class whose best sample comes first in the order of
keepers is 0. So a lower number wins.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

NEIGHBOURS = 32
"""The neighbours of a class that are listed at least, if it has so many: the better ones first."""


@dataclasses.dataclass(frozen=True)
class Edges:
    """Pairs of classes within a threshold.

    A picture of which there are 300,000 near copies has 45,000,000,000 pairs, so not all pairs are listed: a pair may
    be absent if both its classes have `NEIGHBOURS` others listed. Such a class is *cut*, and all its neighbours up to
    its horizon are listed; of a class that is not cut, all are.

    Attributes:
      classes: how many were compared: n.
      first: int32 [m], the lower number of each pair.
      second: int32 [m], the higher one. Pairs are sorted by (first, second), and each is there once.
      distance: float64 [m], in the unit of what was compared: a cosine, or bits.
      cut: int32 [c], classes some neighbours of which may be absent, ascending.
      horizon: int32 [c], the number up to which all neighbours of each of those are listed; -1 where that is not known.
    """

    classes: int
    first: NDArray[np.int32]
    second: NDArray[np.int32]
    distance: NDArray[np.float64]
    cut: NDArray[np.int32]
    horizon: NDArray[np.int32]

    def where(self, chosen: NDArray[np.bool_]) -> Edges:
        """Keeps these pairs alone: bool [m]."""
        pairs = self.first[chosen], self.second[chosen], self.distance[chosen]
        return Edges(self.classes, *pairs, self.cut, self.horizon)

    def distances(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
        """The distances of pairs of classes, int64 [m]: float64 [m]; NaN where they are not listed."""
        found = np.full(len(one), np.nan)
        if len(self.first):
            listed_pairs = self.first.astype(np.int64) * self.classes + self.second
            asked = np.minimum(one, other) * self.classes + np.maximum(one, other)
            at = np.minimum(np.searchsorted(listed_pairs, asked), len(listed_pairs) - 1)
            there = listed_pairs[at] == asked
            found[there] = self.distance[at[there]]
        return found

    def among(self, numbers: NDArray[np.int64], classes: int) -> Edges:
        """The same of classes that are some among more.

        Args:
          numbers: int64 [n], the number of each among all, ascending.
          classes: how many there are in all.
        """
        first, second, cut = (numbers[of].astype(np.int32) for of in (self.first, self.second, self.cut))
        horizon = np.full(len(cut), -1, np.int32)
        known = self.horizon >= 0
        horizon[known] = numbers[self.horizon[known]]
        return Edges(classes, first, second, self.distance, cut, horizon)

    def renumbered(self, number: NDArray[np.int64], classes: int) -> Edges:
        """The same pairs, of classes that have other numbers, and perhaps another order: horizons are not known then.

        Args:
          number: int64 [n], the new number of each class, or -1 if it is gone.
          classes: how many there are now.
        """
        one, other, cut = number[self.first], number[self.second], number[self.cut]
        there = (one >= 0) & (other >= 0)
        cut = np.sort(cut[cut >= 0])
        found = listed(classes, one[there], other[there], self.distance[there])
        return dataclasses.replace(found, cut=cut.astype(np.int32), horizon=np.full(len(cut), -1, np.int32))


def no_edges(classes: int) -> Edges:
    """Nothing is a duplicate of anything."""
    nothing = np.zeros(0, np.int32)
    return Edges(classes, nothing, nothing, np.zeros(0), nothing, nothing)


def listed(classes: int, one: np.ndarray, other: np.ndarray, distance: np.ndarray) -> Edges:
    """All pairs that there are, given in any order; each is taken once.

    Args:
      classes: how many classes were compared.
      one, other: integers [m], two different classes.
      distance: float64 [m].
    """
    keys = np.minimum(one, other).astype(np.int64)
    keys *= classes
    keys += np.maximum(one, other)
    keys, once = np.unique(keys, return_index=True)
    first, second = (part(keys, max(classes, 1)).astype(np.int32) for part in (np.floor_divide, np.remainder))
    nothing = np.zeros(0, np.int32)
    return Edges(classes, first, second, np.asarray(distance, np.float64)[once], nothing, nothing)


def together(pieces: Sequence[Edges], classes: int) -> Edges:
    """The pairs of all pieces, each once; of each class the least horizon counts.

    Args:
      pieces: of the same classes.
      classes: how many there are.
    """
    if not pieces:
        return no_edges(classes)
    names = ("first", "second", "distance", "cut", "horizon")
    one, other, distance, cut, horizon = (np.concatenate([getattr(piece, name) for piece in pieces]) for name in names)
    order = np.lexsort((horizon, cut))
    cut, least = np.unique(cut[order], return_index=True)
    return dataclasses.replace(listed(classes, one, other, distance), cut=cut, horizon=horizon[order][least])


class Listing:
    """The pairs that are found among some classes, as many of them as have to be listed.

    Pairs are given block by block, so that each class meets others in the order of their numbers, or it is said up to
    which number it does (`knows_below`). A class with `NEIGHBOURS` neighbours is full: it needs no more, and two full
    classes need not be compared.

    Attributes:
      wanted: how many neighbours make a class full.
    """

    def __init__(self, classes: int, neighbours: int | None = None) -> None:
        """Takes the number of classes, which are numbered from 0 here, and how many neighbours of each are wanted at
        least."""
        self.wanted = NEIGHBOURS if neighbours is None else neighbours
        self._counts = np.zeros(classes, np.int64)
        self._horizon = np.full(classes, classes, np.int64)
        self._passed_over = np.full(classes, classes, np.int64)
        self._found: list[tuple[NDArray[np.int32], NDArray[np.int32]]] = []

    def full(self, which: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tells which of some classes need no more neighbours: bool [m] of int64 [m]."""
        return self._counts[which] >= self.wanted

    def knows_below(self, which: NDArray[np.int64], passed_over: int) -> None:
        """Says that some classes meet others in their order only below a number, of one that they pass over for now."""
        self._passed_over[which] = passed_over

    def edges(self, numbers: NDArray[np.int64], classes: int, distances: Callable[..., NDArray[np.float64]]) -> Edges:
        """Gives what is listed, in the numbers that the classes have among all.

        Args:
          numbers: int64, of these classes, ascending.
          classes: how many there are in all.
          distances: gives the distances of pairs, from two int32 [m] of those numbers.
        """
        nothing = np.zeros(0, np.int32)
        pairs = zip((nothing, nothing), *self._found, strict=True)
        one, other = (numbers[np.concatenate(ones)].astype(np.int32) for ones in pairs)
        cut = np.flatnonzero(self._counts >= self.wanted)
        found = listed(classes, one, other, distances(one, other))
        known = np.minimum(self._horizon[cut], self._passed_over[cut] - 1)
        horizon = np.where(known < 0, -1, numbers[known]).astype(np.int32)
        return dataclasses.replace(found, cut=numbers[cut].astype(np.int32), horizon=horizon)

    def add(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> None:
        """Takes the pairs of a block: all that there are in it, but for those of two full classes."""
        of, neighbour = np.concatenate([one, other]), np.concatenate([other, one])
        met = np.bincount(of, minlength=len(self._counts))
        if (self._counts + met).max(initial=0) >= self.wanted:
            listed = self._among_the_first(of, neighbour, met).reshape(2, -1).any(axis=0)
            one, other = one[listed], other[listed]
        self._found.append((one.astype(np.int32), other.astype(np.int32)))
        self._counts += met

    def _among_the_first(
        self, of: NDArray[np.int64], neighbour: NDArray[np.int64], met: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Tells which neighbours are among the first that are wanted; where there are that many, sets the horizon."""
        order = np.argsort(of * len(self._counts) + neighbour)
        starts = np.cumsum(met) - met
        place = np.empty(len(of), np.int64)
        place[order] = np.arange(len(of)) - np.repeat(starts, met) + np.repeat(self._counts, met)
        last = place == self.wanted - 1
        self._horizon[of[last]] = neighbour[last]
        return place < self.wanted
