"""All thresholds together: how many samples lie between the same cuts of all columns, so that any thresholds at cuts
can be counted again without a look at the samples.

Its size is bounded: where it would have too many cells, every second cut is left out, as often as it takes. Which ones
are left does not depend on the order of the samples, for the cells at a level are those of all samples.
"""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beam_curator.report.accumulators import Accumulator
from beam_curator.report.binning import NONE
from beam_curator.report.thresholds import AT_LEAST

CELLS = 60_000
"""The most cells that a page holds."""

_PENDING = 1 << 18
"""Rows that are gathered before they are counted."""

KEPT, DROPPED, DUPLICATE = range(3)
"""The states of samples in the ledger: kept; dropped by one of the thresholds; dropped as a duplicate afterwards."""


@dataclasses.dataclass(frozen=True)
class Axis:
    """A column whose threshold can be moved.

    Attributes:
      column: which.
      keeps: `thresholds.AT_LEAST`, where what lies at or above the threshold is kept; any other keeps what lies before.
      edges: the cuts.
      position: that of the ledger: how many cuts lie at or below the threshold of `AT_LEAST`, 0 for none; the number of
        the cut that is the threshold of another, len(edges) for none.
      rule: the ledger's reason, or "" where no rule looks at the column.
      flag: what gives the threshold: a flag that takes a number, or "".
    """

    column: str
    keeps: str
    edges: tuple[float, ...]
    position: int
    rule: str = ""
    flag: str = ""

    @property
    def off(self) -> int:
        """The position at which there is no threshold."""
        return 0 if self.keeps == AT_LEAST else len(self.edges)

    def thinned(self) -> tuple[Axis, NDArray[np.int64]]:
        """The axis with every second cut, the ledger's own among them; and the new place of each old one."""
        own = self.position - (self.keeps == AT_LEAST)
        keep = np.zeros(len(self.edges), bool)
        keep[::2] = True
        if 0 <= own < len(keep):
            keep[own] = True
        moved = np.concatenate([[0], np.cumsum(keep)]).astype(np.int64)
        edges = tuple(np.asarray(self.edges)[keep].tolist())
        return dataclasses.replace(self, edges=edges, position=int(moved[self.position])), moved


class JointHistogram(Accumulator):
    """Counts of samples by their places on all axes.

    Attributes:
      axes: k of them, as far as they are thinned.
      cells: int64 [m], each a place on every axis in one number, ascending.
      counts: int64 [m, 3], samples there by their states.
    """

    def __init__(self, axes: Sequence[Axis], most: int = CELLS) -> None:
        self.axes = list(axes)
        self.cells = np.empty(0, np.int64)
        self.counts = np.empty((0, 3), np.int64)
        self._most = most
        self._thinned = 0
        self._pending: list[NDArray[np.integer]] = []
        self._pending_rows = 0

    def add(self, places: Sequence[NDArray[np.int64]], states: NDArray[np.int64]) -> None:
        """Counts n samples.

        Args:
          places: for each axis as it was given, int64 [n], the place of each sample between its cuts, or `NONE`.
          states: int64 [n].
        """
        at = np.zeros(len(states), np.int64)
        for index, (axis, of_axis) in enumerate(zip(self.axes, places, strict=True)):
            at = at * self._size(axis) + self._moved(index, np.where(of_axis == NONE, self._worst(index), of_axis))
        both = at * 3 + states
        self._pending.append(both.astype(np.int32) if self._below <= np.iinfo(np.int32).max else both)
        self._pending_rows += len(at)
        if self._pending_rows >= _PENDING:
            self.settle()

    def settle(self) -> None:
        """Counts what is gathered; called before anything is read from it."""
        if not self._pending:
            return
        both, counts = _counted(np.concatenate(self._pending), self._below)
        self._pending, self._pending_rows = [], 0
        added = np.zeros((len(both), 3), np.int64)
        added[np.arange(len(both)), both % 3] = counts
        self._sum(np.concatenate([self.cells, both // 3]), np.concatenate([self.counts, added]))
        self._bound()

    def merge(self, other: JointHistogram) -> None:
        """Adds what another one of the same axes has counted. Who has left out fewer cuts leaves out as many: all
        samples together have at least the cells of these."""
        self.settle()
        other.settle()
        while self._thinned < other._thinned:
            self._thin()
        while other._thinned < self._thinned:
            other._thin()
        self._sum(np.concatenate([self.cells, other.cells]), np.concatenate([self.counts, other.counts]))
        self._bound()

    def _bound(self) -> None:
        while len(self.cells) > self._most and any(len(axis.edges) > 2 for axis in self.axes):
            self._thin()

    def places(self) -> list[NDArray[np.int64]]:
        """The place of each cell on each axis: k times int64 [m]."""
        found, rest = [], self.cells
        for axis in reversed(self.axes):
            found.append(rest % self._size(axis))
            rest = rest // self._size(axis)
        return found[::-1]

    def as_json(self) -> dict[str, Any]:
        """Makes the counts as the page has them: a byte for each place, four for each count, in base64, little end
        first."""
        self.settle()
        places = np.concatenate([one.astype(np.uint8) for one in self.places()] or [np.empty(0, np.uint8)])
        return {
            "axes": [{**dataclasses.asdict(axis), "edges": list(axis.edges), "off": axis.off} for axis in self.axes],
            "cells": len(self.cells),
            "places": base64.b64encode(places.tobytes()).decode(),
            "counts": base64.b64encode(self.counts.T.astype("<u4").tobytes()).decode(),
        }

    @property
    def _below(self) -> int:
        """The number of cells that there may be, times that of states."""
        return 3 * math.prod(map(self._size, self.axes))

    def _sum(self, cells: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        """Makes these the cells, those that are the same as one."""
        self.cells, inverse = np.unique(cells, return_inverse=True)
        self.counts = np.zeros((len(self.cells), 3), np.int64)
        np.add.at(self.counts, inverse, counts)

    def _thin(self) -> None:
        places = self.places()
        thinned = [axis.thinned() for axis in self.axes]
        moved = [to[at] for (_, to), at in zip(thinned, places, strict=True)]
        self._maps = [to[before] for (_, to), before in zip(thinned, self._all_maps(), strict=True)]
        self.axes = [axis for axis, _ in thinned]
        self._thinned += 1
        at = np.zeros(len(self.cells), np.int64)
        for axis, of_axis in zip(self.axes, moved, strict=True):
            at = at * self._size(axis) + of_axis
        self._sum(at, self.counts)

    _maps: list[NDArray[np.int64]] | None = None

    def _all_maps(self) -> list[NDArray[np.int64]]:
        """Gives, for each axis, the place of today for each place that it was given with."""
        if self._maps is None:
            self._maps = [np.arange(self._size(axis)) for axis in self.axes]
        return self._maps

    def _moved(self, index: int, places: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._all_maps()[index][places]

    def _worst(self, index: int) -> int:
        """The place, as given, that passes only where there is no threshold."""
        return 0 if self.axes[index].keeps == AT_LEAST else len(self._all_maps()[index]) - 1

    @staticmethod
    def _size(axis: Axis) -> int:
        return len(axis.edges) + 1


def _counted(numbers: NDArray[np.integer], below: int) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
    """The different ones of n numbers from 0 to a limit, ascending, and how often each comes: by a table of all where
    that is not much larger than they are many, which is faster than sorting."""
    if below > 4 * len(numbers):
        return np.unique(numbers, return_counts=True)
    counts = np.bincount(numbers, minlength=1)
    found = np.flatnonzero(counts)
    return found, counts[found]
