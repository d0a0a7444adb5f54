"""All pairs of pictures that are near by their hashes, and alike (see `likeness`), found where hashes meet (see
`hash_tables`).

A pair is taken from the first table in which it meets. Under keys that many share, such as those of 300,000 near copies
of one picture, each class looks at others in the order of their numbers, until it has as many neighbours as are listed.
If these are among the first numbers of all, it is compared with all up to there at once, and looks no further.

The hashes of all pictures are compared with one another first, then those that an edit would leave with those of all: a
class that has as many neighbours as are listed by then looks for nearer ones alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from beam_curator.duplicates import edges as edges_module
from beam_curator.duplicates import hash_tables
from beam_curator.duplicates.edges import Edges, listed
from beam_curator.duplicates.hash_tables import TABLES_OF_EDITED
from beam_curator.duplicates.hashes import BITS, EDIT_BITS, Hashes, Indices, bits_between
from beam_curator.duplicates.likeness import alike, counted, distances, sides

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
      bits: how far they may be apart.
      base, known: bool [n], as of `semantic.Compared`: two of `base`, or two of `known`, are not compared.
    """
    pairs, everyone = _Pairs(len(hashes)), np.arange(len(hashes))
    pictures = _Looking.of(hashes.fine, everyone)
    kept_apart = [those for those in (base, known) if those is not None]
    _Join(hashes, pairs, pictures, pictures, bits, kept_apart).run()
    for edit, (words, changed) in enumerate(zip(hashes.edited, hashes.unlike_fine, strict=True)):
        if len(changed) and bits >= EDIT_BITS:
            edited, pictures = _Looking.of(words, changed), _Looking.of(hashes.fine, everyone)
            _Join(hashes, pairs, edited, pictures, bits, kept_apart, edit).run()
    return pairs.edges()


@dataclasses.dataclass(frozen=True)
class Bits:
    """Compares hashes one by one: what `keepers` asks where not all pairs are listed."""

    hashes: Hashes
    bits: int = BITS

    def within(self, one: Indices, other: Indices) -> tuple[Indices, Indices]:
        """Finds which of some classes are duplicates of which of some others: two int64 [k], indices into both,
        sorted."""
        rows, columns = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        compared = [(side.one, side.other[other].T, self.bits - side.counts) for side in sides(self.hashes, self.bits)]
        of = max(1, _AT_A_TIME // max(1, len(other)))
        for start in range(0, len(one), of):
            some = one[start : start + of]
            near = [_near(words[some].T, others, bits) for words, others, bits in compared]
            row, column = np.nonzero(np.logical_or.reduce(near))
            row += start
            found = ~np.isnan(self.distances(one[row], other[column]))
            rows.append(row[found])
            columns.append(column[found])
        return np.concatenate(rows), np.concatenate(columns)

    def distances(self, one: Indices, other: Indices) -> NDArray[np.float64]:
        """Computes how far pairs of classes are apart, in bits: float64 [m]; NaN where they are no duplicates."""
        return distances(self.hashes, one, other, self.bits)


def _near(one: NDArray[np.uint64], other: NDArray[np.uint64], bits: int) -> NDArray[np.bool_]:
    """Tells which of some hashes differ from which of some others in few bits: bool [n, m] of uint64 [4, n] and [4,
    m]."""
    return bits_between(one[:, :, None], other[:, None, :]) <= bits


class _Pairs:
    """Gathers the pairs that are found.

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


@dataclasses.dataclass(frozen=True)
class _Looking:
    """Hashes of some classes, each of which looks for near ones among others.

    Attributes:
      words: uint64 [4, m].
      classes: int64 [m], whose they are, ascending.
      settled: bool [m], those that have found all up to the horizon of their class.
    """

    words: NDArray[np.uint64]
    classes: Indices
    settled: NDArray[np.bool_]

    @classmethod
    def of(cls, words: NDArray[np.uint64], classes: Indices) -> _Looking:
        """Takes the hashes of some classes, of uint64 [n, 4] of all."""
        return cls(np.ascontiguousarray(words[classes].T), classes, np.zeros(len(classes), bool))

    def by_key(self, table: int) -> tuple[Indices, NDArray[np.uint64]]:
        """Sorts these hashes by their keys in a table and by class; gives their indices and their keys."""
        keys = hash_tables.keys(self.words, table) << np.uint64(32)
        keys |= np.arange(len(keys), dtype=np.uint64)
        keys.sort()
        return (keys & np.uint64(0xFFFFFFFF)).astype(np.int64), keys >> np.uint64(32)


class _Join:
    """Finds the pairs of one hash of a class and one of another."""

    def __init__(
        self,
        hashes: Hashes,
        pairs: _Pairs,
        one: _Looking,
        other: _Looking,
        bits: int,
        kept_apart: Sequence[NDArray[np.bool_]],
        edit: int | None = None,
    ) -> None:
        """Prepares to compare all of `one` with all of `other`.

        Args:
          hashes, bits: as of `perceptual_edges`.
          pairs: to which those are added that are found.
          one, other: hashes of pictures as an edit leaves them, and of them as they are; or the latter twice.
          kept_apart: bool [n] each; two of them are not compared.
          edit: which one it is.
        """
        self._hashes, self._pairs, self._one, self._other = hashes, pairs, one, other
        self._bits, self._kept_apart = bits, kept_apart
        self._edit = edit
        self._counts, self._tables = (0, hash_tables.TABLES) if edit is None else (EDIT_BITS, TABLES_OF_EDITED)
        self._both_ways = [(one, other)] if one is other else [(one, other), (other, one)]

    def run(self) -> None:
        """Finds all that are wanted."""
        self._settle()
        for table in range(self._tables):
            self._look_into(table)
            self._settle()

    def _look_into(self, table: int) -> None:
        """Finds the pairs that meet in a table first."""
        order, keys = self._one.by_key(table)
        others, keys_of_others = (order, keys) if self._one is self._other else self._other.by_key(table)
        starts, ends = (np.searchsorted(keys_of_others, keys, side) for side in ("left", "right"))
        small = ends - starts <= _SMALL
        settled = np.concatenate([[0], np.cumsum(self._other.settled[others])])
        nothing_new = self._one.settled[order] & (settled[ends] - settled[starts] == ends - starts)
        behind = np.arange(1, len(order) + 1) if self._one is self._other else starts
        self._within_small(table, order, others, behind, np.where(small & ~nothing_new, ends, 0))
        large = np.flatnonzero(~small)
        for places in np.split(large, np.flatnonzero(np.diff(starts[large])) + 1):
            if len(places):
                under_key = order[places], others[starts[places[0]] : ends[places[0]]]
                for (one, other), which in zip(self._both_ways, (under_key, under_key[::-1]), strict=False):
                    self._within_large(table, one, which[0], other, which[1])

    def _within_small(self, table: int, order: Indices, others: Indices, starts: Indices, ends: Indices) -> None:
        """Compares each with those under the same key, one place after the other.

        Args:
          table: the table.
          order, others: indices of hashes, by their keys.
          starts, ends: int64, at which places of `others` each looks.
        """
        words, other_words = self._one.words[:, order], self._other.words[:, others]
        horizon, at = self._pairs.horizon, np.arange(len(order))
        for shift in range(_SMALL):
            at = at[starts[at] + shift < ends[at]]
            if not len(at):
                return
            distance = bits_between(words[:, at], other_words[:, starts[at] + shift])
            near = np.flatnonzero(distance <= self._bits - self._counts)
            a, b = order[at[near]], others[starts[at[near]] + shift]
            one, other = self._one.classes[a], self._other.classes[b]
            wanted = (other <= horizon[one]) & ~self._one.settled[a]
            wanted |= (one <= horizon[other]) & ~self._other.settled[b]
            wanted &= one != other
            differing = self._one.words[:, a] ^ self._other.words[:, b]
            which, far = self._decided(np.flatnonzero(wanted), one, other, distance[near], differing, table)
            self._pairs.add(one[which], other[which], far)

    def _decided(
        self,
        which: Indices,
        one: Indices,
        other: Indices,
        distance: NDArray[np.uint16],
        differing: NDArray[np.uint64],
        table: int | None,
    ) -> tuple[Indices, NDArray[np.int64]]:
        """Picks the near pairs that are duplicates and have to be compared, and tells how far they are apart; with a
        table, if they meet there first."""
        for those in self._kept_apart:
            which = which[~(those[one[which]] & those[other[which]])]
        differing = differing[:, which]
        meet = hash_tables.meet(differing, self._tables) if table is None else hash_tables.first_here(differing, table)
        which = which[meet]
        far = counted(self._hashes, one[which], other[which], distance[which].astype(np.int64), self._edit)
        which, far = which[far <= self._bits], far[far <= self._bits]
        agree = alike(self._hashes, one[which], other[which], self._edit)
        return which[agree], far[agree]

    def _within_large(self, table: int, looking: _Looking, which: Indices, among: _Looking, members: Indices) -> None:
        """Compares some hashes under a key with others up to their horizons, some at a time, the first ones first.

        Args:
          table: the table.
          looking, which: the hashes that look, ascending.
          among, members: at which they look, ascending.
        """
        counts, classes = np.zeros(len(which), np.int64), among.classes[members]
        words, open_ = among.words[:, members], np.flatnonzero(~looking.settled[which])
        start, end = 0, min(_TILE, len(members))
        while start < len(members):
            open_ = open_[self._pairs.horizon[looking.classes[which[open_]]] >= classes[start]]
            if not len(open_):
                return
            tile = words[:, start:end], classes[start:end]
            of = max(1, _AT_A_TIME // (end - start))
            for some in (open_[part : part + of] for part in range(0, len(open_), of)):
                one, other, distance = self._looked_at(looking, which[some], *tile, table)
                at = np.searchsorted(looking.classes[which], one)
                nth = _places(one) + counts[at]
                counts += np.bincount(at, minlength=len(counts))
                self._pairs.add_first(one, other, distance, nth)
            start, end = end, min(len(members), end + max(_TILE, _AT_A_TIME // len(open_)))

    def _settle(self) -> None:
        """Compares the hashes of classes whose horizon is near with all up to there."""
        for looking, among in self._both_ways:
            horizon = self._pairs.horizon[looking.classes]
            rest = np.flatnonzero(~looking.settled & (horizon < min(_SETTLED_BELOW, len(self._pairs.horizon))))
            rest = rest[np.argsort(horizon[rest], kind="stable")]
            while len(rest):
                last = horizon[rest[min(len(rest), _SETTLED_BELOW) - 1]]
                until = int(np.searchsorted(among.classes, last, "right"))
                some, rest = np.split(rest, [max(1, min(_SETTLED_BELOW, _AT_A_TIME // max(1, until)))])
                some.sort()
                found = self._looked_at(looking, some, among.words[:, :until], among.classes[:until])
                self._pairs.add_first(*found, _places(found[0]))
                looking.settled[some] = True

    def _looked_at(
        self,
        looking: _Looking,
        which: Indices,
        words: NDArray[np.uint64],
        classes: Indices,
        table: int | None = None,
    ) -> tuple[Indices, Indices, NDArray[np.int64]]:
        """The neighbours of some classes among others, as far as they are wanted: pairs, and how far they
        are apart, by class and by neighbour.

        Args:
          looking, which: the hashes that look, ascending.
          words, classes: uint64 [4, n] and int64 [n], ascending, at which they look.
          table: the one in which they have to meet first; None for any.
        """
        own, theirs = looking.words[:, which], looking.classes[which]
        distance = bits_between(own[:, :, None], words[:, None, :])
        near = distance <= self._bits - self._counts
        near &= classes <= self._pairs.horizon[theirs][:, None]
        row, column = np.nonzero(near)
        one, other = theirs[row], classes[column]
        differing = own[:, row] ^ words[:, column]
        found, far = self._decided(np.flatnonzero(one != other), one, other, distance[near], differing, table)
        return one[found], other[found], far


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
