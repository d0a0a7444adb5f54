"""Gathers pairs of classes as they are found: of a class that has many neighbours, those first by number."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from beam_curator.duplicates import edges as edges_module
from beam_curator.duplicates.edges import Edges, listed
from beam_curator.duplicates.hashes import Indices

_PRUNED_FROM = 1 << 22
"""After so many pairs more, those that are not wanted any more are left out."""


class FirstNeighbours:
    """The pairs that were found so far, as far as they are wanted.

    Attributes:
      most: how many neighbours of a class are listed at least.
      horizon: int64 [n], up to which number neighbours of each class are wanted: the number of the `most`th of those
        that are known, or n. It only falls, so what was left out once is not wanted later.
    """

    def __init__(self, classes: int) -> None:
        self.most = edges_module.NEIGHBOURS
        self.horizon = np.full(classes, classes, np.int64)
        self._found: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int16]]] = []
        self._pairs, self._pruned = 0, 0

    def add_first(self, one: Indices, other: Indices, distance: NDArray[np.int64], nth: Indices) -> None:
        """Adds the first neighbours of classes, and lowers the horizon of those that have as many as are listed.

        Args:
          one, other, distance: different classes, and how far they are apart.
          nth: int64, the how manieth neighbour of its class each is.
        """
        last, first = nth == self.most - 1, nth < self.most
        self.horizon[one[last]] = np.minimum(self.horizon[one[last]], other[last])
        self.add(one[first], other[first], distance[first])

    def add(self, one: Indices, other: Indices, distance: NDArray[np.int64]) -> None:
        """Adds pairs."""
        if len(one):
            pair = np.minimum(one, other).astype(np.int32), np.maximum(one, other).astype(np.int32)
            self._found.append((*pair, distance.astype(np.int16)))
            self._pairs += len(one)
        if self._pairs > self._pruned + _PRUNED_FROM:
            self._prune()

    def _prune(self) -> None:
        """Lowers horizons to what is known now, and leaves out pairs beyond both; of those that are there several times
        the nearest stays."""
        if not self._found:
            return
        count = len(self.horizon)
        one, other, distance = (np.concatenate(ones) for ones in zip(*self._found, strict=True))
        pair = one.astype(np.int64) * count + other
        order = np.lexsort((distance, pair))
        once = order[np.diff(pair[order], prepend=-1) != 0]
        one, other, distance = one[once], other[once], distance[once]
        sizes = np.bincount(one, minlength=count) + np.bincount(other, minlength=count)
        cut = sizes >= self.most
        if cut.any():
            both = _of_each(one, other, count, cut)
            starts = np.cumsum(np.where(cut, sizes, 0)) - np.where(cut, sizes, 0)
            self.horizon[cut] = both[starts[cut] + self.most - 1] % count
            wanted = (other <= self.horizon[one]) | (one <= self.horizon[other])
            one, other, distance = one[wanted], other[wanted], distance[wanted]
        self._found = [(one, other, distance)]
        self._pairs = self._pruned = len(one)

    def edges(self) -> Edges:
        """Gives all pairs that are wanted."""
        self._prune()
        one, other, distance = self._found[0] if self._found else (np.zeros(0, np.int32),) * 3
        found = listed(len(self.horizon), one, other, distance.astype(np.float64))
        cut = np.flatnonzero(self.horizon < len(self.horizon)).astype(np.int32)
        return dataclasses.replace(found, cut=cut, horizon=self.horizon[cut].astype(np.int32))


def _of_each(
    one: NDArray[np.int32], other: NDArray[np.int32], count: int, chosen: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """The neighbours of chosen classes, sorted: class times `count` plus neighbour."""
    forward, back = chosen[one], chosen[other]
    both = np.concatenate([one[forward].astype(np.int64) * count, other[back].astype(np.int64) * count])
    both += np.concatenate([other[forward], one[back]])
    both.sort()
    return both
