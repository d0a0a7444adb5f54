"""All pairs of pictures whose hashes are near (see `hashes`), found where they meet (see `hash_tables`).

A pair is taken from the first table in which it meets. Under keys that many share, such as those of 300,000 near copies
of one picture, each class looks at others in the order of their numbers, until it has as many neighbours as are listed.
If these are among the first numbers of all, it is compared with all up to there at once, and looks no further.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from beam_curator.duplicates import edges as edges_module
from beam_curator.duplicates import hash_tables
from beam_curator.duplicates.edges import Edges, listed
from beam_curator.duplicates.hashes import BITS, Hashes, Indices, alike, bits_between, distances

_SMALL = 128
_TILE = 32
_AT_A_TIME = 1 << 20
_PRUNED_FROM = 1 << 22
_SETTLED_BELOW = 4096


def perceptual_edges(
    hashes: Hashes,
    bits: int = BITS,
    base: NDArray[np.bool_] | None = None,
    known: NDArray[np.bool_] | None = None,
) -> Edges:
    """The pairs of classes of pictures that are duplicates, but for those that need not be compared.

    What is listed is a function of hashes, `bits`, `base` and `known` alone: of each class that is cut all neighbours
    up to its `NEIGHBOURS`th, which is its horizon, and of others all.

    Args:
      hashes: of n classes, by rank; no two are equal.
      bits: in how many bits they may differ.
      base, known: bool [n], as of `semantic.Compared`: two of `base`, or two of `known`, are not compared.
    """
    join = _Join(hashes, bits, base, known)
    for table in range(hash_tables.TABLES):
        join.look_into(table)
    return join.edges()


@dataclasses.dataclass(frozen=True)
class Bits:
    """Compares hashes one by one: what `keepers` asks where not all pairs are listed."""

    hashes: Hashes
    bits: int = BITS

    def within(self, one: Indices, other: Indices) -> tuple[Indices, Indices]:
        """Which of some classes are duplicates of which of some others: two int64 [k], indices into both, sorted."""
        rows, columns = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        words = self.hashes.fine[other].T
        of = max(1, _AT_A_TIME // max(1, len(other)))
        for start in range(0, len(one), of):
            row, column = np.nonzero(_near(self.hashes.fine[one[start : start + of]].T, words, self.bits))
            row += start
            found = ~np.isnan(self.distances(one[row], other[column]))
            rows.append(row[found])
            columns.append(column[found])
        return np.concatenate(rows), np.concatenate(columns)

    def distances(self, one: Indices, other: Indices) -> NDArray[np.float64]:
        """In how many bits of 256 pairs of classes differ: float64 [m]; NaN where they are no duplicates."""
        return distances(self.hashes, one, other, self.bits)


def _near(one: NDArray[np.uint64], other: NDArray[np.uint64], bits: int) -> NDArray[np.bool_]:
    """Which of some hashes differ from which of some others in few bits: bool [n, m] of uint64 [4, n] and [4, m]."""
    return bits_between(one[:, :, None], other[:, None, :]) <= bits


class _Join:
    """What is found so far.

    Attributes:
      horizon: int64 [n], up to which number neighbours of each class are wanted: the number of the `NEIGHBOURS`th of
        those that are known, or n. It only falls, so what was left out once is not wanted later.
      settled: bool [n], classes of which all neighbours up to the horizon are found.
    """

    def __init__(
        self, hashes: Hashes, bits: int, base: NDArray[np.bool_] | None, known: NDArray[np.bool_] | None
    ) -> None:
        self._hashes, self._bits, self._base, self._known = hashes, bits, base, known
        self._words = np.ascontiguousarray(hashes.fine.T)
        self._most = edges_module.NEIGHBOURS
        self._found: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int16]]] = []
        self._pairs, self._pruned = 0, 0
        self.horizon = np.full(len(hashes), len(hashes), np.int64)
        self.settled = np.zeros(len(hashes), bool)

    def look_into(self, table: int) -> None:
        """Finds the pairs that meet in a table first."""
        keys = hash_tables.keys(self._words, table) << np.uint64(32)
        keys |= np.arange(len(keys), dtype=np.uint64)
        keys.sort()
        order = (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)
        keys >>= np.uint64(32)
        ends = np.append(np.flatnonzero(np.diff(keys)) + 1, len(order)) if len(order) else np.zeros(0, np.int64)
        sizes = np.diff(ends, prepend=0)
        self._within_small(table, order, ends, sizes)
        for end, size in zip(ends[sizes > _SMALL].tolist(), sizes[sizes > _SMALL].tolist(), strict=True):
            self._within_large(table, order[end - size : end])
        self._settle()

    def _within_small(self, table: int, order: Indices, ends: Indices, sizes: Indices) -> None:
        """Compares each class with those behind it under the same key, one place after the other."""
        settled = np.concatenate([[0], np.cumsum(self.settled[order])])
        all_settled = settled[ends] - settled[ends - sizes] == sizes
        until = np.repeat(np.where((sizes <= _SMALL) & ~all_settled, ends, 0), sizes)
        words = self._words[:, order]
        at = np.arange(len(order))
        for shift in range(1, _SMALL):
            at = at[at + shift < until[at]]
            if not len(at):
                return
            distance = bits_between(words[:, at], words[:, at + shift])
            near = distance <= self._bits
            one, other = order[at[near]], order[at[near] + shift]
            wanted = (other <= self.horizon[one]) & ~self.settled[one]
            wanted |= (one <= self.horizon[other]) & ~self.settled[other]
            which = self._decided(np.flatnonzero(wanted), one, other, table)
            self._add(one[which], other[which], distance[near][which])

    def _decided(self, which: Indices, one: Indices, other: Indices, table: int | None = None) -> Indices:
        """Which of some near pairs are duplicates and have to be compared; with a table, if they meet there first."""
        for compared in (self._known, self._base):
            if compared is not None:
                which = which[~(compared[one[which]] & compared[other[which]])]
        differing = self._hashes.fine[one[which]] ^ self._hashes.fine[other[which]]
        differing = np.ascontiguousarray(differing.T)
        which = which[hash_tables.meet(differing) if table is None else hash_tables.first_here(differing, table)]
        return which[alike(self._hashes, one[which], other[which])]

    def _within_large(self, table: int, members: Indices) -> None:
        """Compares each class under a key with all up to its horizon, some at a time, from the first to the last."""
        counts = np.zeros(len(members), np.int64)
        words, open_ = self._words[:, members], np.flatnonzero(~self.settled[members])
        start, end = 0, min(_TILE, len(members))
        while start < len(members):
            open_ = open_[self.horizon[members[open_]] >= members[start]]
            if not len(open_):
                return
            of = max(1, _AT_A_TIME // (end - start))
            for part in range(0, len(open_), of):
                self._look(table, members, words, counts, open_[part : part + of], slice(start, end))
            start, end = end, min(len(members), end + max(_TILE, _AT_A_TIME // len(open_)))

    def _look(
        self,
        table: int,
        members: Indices,
        words: NDArray[np.uint64],
        counts: Indices,
        places: Indices,
        among: slice,
    ) -> None:
        """Compares some places under a key with others.

        Args:
          table: the table.
          members: int64 [m], the classes under the key.
          words: uint64 [4, m], their hashes.
          counts: int64 [m], how many neighbours each was found to have here; they are added to.
          places: int64, ascending, which of them look.
          among: at which they look.
        """
        one, other, distance = self._looked_at(
            words[:, places], members[places], words[:, among], members[among], table
        )
        at = np.searchsorted(members, one)
        nth = _places(one) + counts[at]
        counts += np.bincount(at, minlength=len(counts))
        self._add_first(one, other, distance, nth)

    def _settle(self) -> None:
        """Compares the classes whose horizon is near with all up to there."""
        rest = np.flatnonzero(~self.settled & (self.horizon < min(_SETTLED_BELOW, len(self._hashes))))
        rest = rest[np.argsort(self.horizon[rest], kind="stable")]
        while len(rest):
            until = np.arange(1 + int(self.horizon[rest[min(len(rest), _SETTLED_BELOW) - 1]]))
            classes, rest = np.split(rest, [max(1, min(_SETTLED_BELOW, _AT_A_TIME // len(until)))])
            classes.sort()
            found = self._looked_at(self._words[:, classes], classes, self._words[:, until], until)
            self._add_first(*found, _places(found[0]))
            self.settled[classes] = True

    def _looked_at(
        self,
        words: NDArray[np.uint64],
        classes: Indices,
        words_of_others: NDArray[np.uint64],
        others: Indices,
        table: int | None = None,
    ) -> tuple[Indices, Indices, NDArray[np.uint16]]:
        """The neighbours of some classes among others, as far as they are wanted: pairs, and in how many bits they
        differ, by class and by neighbour.

        Args:
          words, words_of_others: uint64 [4, n], their hashes.
          classes, others: int64, ascending.
          table: the one in which they have to meet first; None for any.
        """
        distance = bits_between(words[:, :, None], words_of_others[:, None, :])
        near = distance <= self._bits
        near &= others <= self.horizon[classes][:, None]
        row, column = np.nonzero(near)
        one, other = classes[row], others[column]
        which = self._decided(np.flatnonzero(one != other), one, other, table)
        return one[which], other[which], distance[row[which], column[which]]

    def _add_first(self, one: Indices, other: Indices, distance: NDArray[np.uint16], nth: Indices) -> None:
        """Adds the first neighbours of classes, and lowers the horizon of those that have as many as are listed.

        Args:
          one, other, distance: as `_looked_at` gives them.
          nth: int64, the how manieth neighbour of its class each is.
        """
        last, first = nth == self._most - 1, nth < self._most
        self.horizon[one[last]] = np.minimum(self.horizon[one[last]], other[last])
        self._add(one[first], other[first], distance[first])

    def _add(self, one: Indices, other: Indices, distance: NDArray[np.uint16]) -> None:
        if len(one):
            pair = np.minimum(one, other).astype(np.int32), np.maximum(one, other).astype(np.int32)
            self._found.append((*pair, distance.astype(np.int16)))
            self._pairs += len(one)
        if self._pairs > self._pruned + _PRUNED_FROM:
            self._prune()

    def _prune(self) -> None:
        """Lowers horizons to what is known now, and leaves out pairs beyond both, and those that are there twice."""
        if not self._found:
            return
        count = len(self._hashes)
        one, other, distance = (np.concatenate(ones) for ones in zip(*self._found, strict=True))
        _, once = np.unique(one.astype(np.int64) * count + other, return_index=True)
        one, other, distance = one[once], other[once], distance[once]
        sizes = np.bincount(one, minlength=count) + np.bincount(other, minlength=count)
        cut = sizes >= self._most
        if cut.any():
            both = _of_each(one, other, count, cut)
            starts = np.cumsum(np.where(cut, sizes, 0)) - np.where(cut, sizes, 0)
            self.horizon[cut] = both[starts[cut] + self._most - 1] % count
            wanted = (other <= self.horizon[one]) | (one <= self.horizon[other])
            one, other, distance = one[wanted], other[wanted], distance[wanted]
        self._found = [(one, other, distance)]
        self._pairs = self._pruned = len(one)

    def edges(self) -> Edges:
        """All that is wanted."""
        self._prune()
        one, other, distance = self._found[0] if self._found else (np.zeros(0, np.int32),) * 3
        found = listed(len(self._hashes), one, other, distance.astype(np.float64))
        cut = np.flatnonzero(self.horizon < len(self._hashes)).astype(np.int32)
        return dataclasses.replace(found, cut=cut, horizon=self.horizon[cut].astype(np.int32))


def _places(sorted_classes: Indices) -> Indices:
    """The place of each among equal ones."""
    starts = np.flatnonzero(np.diff(sorted_classes, prepend=-1))
    return np.arange(len(sorted_classes)) - np.repeat(starts, np.diff(starts, append=len(sorted_classes)))


def _of_each(
    one: NDArray[np.int32], other: NDArray[np.int32], count: int, chosen: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """The neighbours of chosen classes, sorted: class times `count` plus neighbour."""
    forward, back = chosen[one], chosen[other]
    both = np.concatenate([one[forward].astype(np.int64) * count, other[back].astype(np.int64) * count])
    both += np.concatenate([other[forward], one[back]])
    both.sort()
    return both
