"""Counts how the values of a column lie, in a fixed size: enough to choose where its histogram is cut.

A value is counted under the first 16 bits of itself as a 32-bit float, so in 128 steps between a number and its double.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from beam_curator.report.accumulators import Accumulator

KEYS = 1 << 16
"""So many different keys there are."""

_SIGN = np.uint16(1 << 15)


class Spread(Accumulator):
    """The values of one column, counted; keys that no value has take no memory: there may be a thousand columns.

    Attributes:
      lowest, highest: the ends, exactly; infinite where there is no value.
      nulls: rows without one.
      whole: whether all are whole numbers.
    """

    def __init__(self) -> None:
        self._keys, self._counts = np.empty(0, np.uint16), np.empty(0, np.int64)
        self._pending: list[NDArray[np.uint16]] = []
        self.lowest, self.highest = np.inf, -np.inf
        self.nulls = 0
        self.whole = True

    def add(self, values: NDArray[np.float64]) -> None:
        """Counts n values: float64 [n], NaN for none."""
        is_there = np.isfinite(values)
        there = values if is_there.all() else values[is_there]
        self.nulls += len(values) - len(there)
        if not len(there):
            return
        self._pending.append(keys_of(there))
        if sum(map(len, self._pending)) >= KEYS:
            self.settle()
        self.lowest = min(self.lowest, float(there.min()) + 0.0)  # never -0.0: which zero came first is no difference
        self.highest = max(self.highest, float(there.max()) + 0.0)
        self.whole = self.whole and bool((there == np.floor(there)).all())

    def merge(self, other: Spread) -> None:
        """Adds what another one has counted."""
        self._hold(self.counts + other.counts)
        self.lowest, self.highest = min(self.lowest, other.lowest), max(self.highest, other.highest)
        self.nulls += other.nulls
        self.whole = self.whole and other.whole

    def settle(self) -> None:
        if self._pending:
            found = np.bincount(np.concatenate(self._pending), minlength=KEYS)
            self._pending = []
            self._hold(self.counts + found)

    def _hold(self, counts: NDArray[np.int64]) -> None:
        """Holds these counts of all keys: int64 [65536]."""
        self._keys = np.flatnonzero(counts > 0).astype(np.uint16)
        self._counts = counts[self._keys]

    @property
    def counts(self) -> NDArray[np.int64]:
        """The number of values with each key, in the order of the values: int64 [65536]."""
        self.settle()
        counts = np.zeros(KEYS, np.int64)
        counts[self._keys] = self._counts
        return counts

    @property
    def total(self) -> int:
        """The number of values."""
        self.settle()
        return int(self._counts.sum())

    def quantile(self, fraction: float) -> float:
        """About the value below which this fraction of all lies."""
        place = np.searchsorted(np.cumsum(self.counts), fraction * self.total, "right")
        value = float(_values_of(np.array([min(int(place), KEYS - 1)], np.uint16))[0])
        return min(max(value, self.lowest), self.highest)


def keys_of(values: NDArray[np.float64]) -> NDArray[np.uint16]:
    """The key of each of n values, in the order of the values; NaN has some key."""
    with np.errstate(over="ignore"):
        bits = (values.astype(np.float32).view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    is_negative = (bits.view(np.int16) >> 15).view(np.uint16)  # all ones, or none
    return bits ^ (is_negative | _SIGN)


def _values_of(keys: NDArray[np.uint16]) -> NDArray[np.float32]:
    bits = np.where(keys & _SIGN, keys ^ _SIGN, ~keys)
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
