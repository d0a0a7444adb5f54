"""Joins hashes with hashes: finds the pairs that meet in a table (see `hash_tables`) and are near and alike.

A pair is taken from the first table in which it meets. Under keys that many share, such as those of 300,000 near copies
of one picture, each class looks at others in the order of their numbers, until it has as many neighbours as are listed.
If these are among the first numbers of all, it is compared with all up to there at once, and looks no further.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from beam_curator.duplicates import hash_tables
from beam_curator.duplicates.first_neighbours import FirstNeighbours
from beam_curator.duplicates.hash_tables import TABLES_OF_EDITED
from beam_curator.duplicates.hashes import EDIT_BITS, Hashes, Indices, bits_between
from beam_curator.duplicates.likeness import alike, counted

_SMALL = 128
"""Under a key that so many share at most, each is compared with each."""

_TILE = 32
"""Under any other, with so many at first."""

_AT_A_TIME = 1 << 20
"""So many pairs are compared at a time."""

_SETTLED_BELOW = 4096
"""A class whose horizon is below this is compared with all up to there."""


@dataclasses.dataclass(frozen=True)
class Looking:
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
    def of(cls, words: NDArray[np.uint64], classes: Indices) -> Looking:
        """Takes the hashes of some classes, of uint64 [n, 4] of all."""
        return cls(np.ascontiguousarray(words[classes].T), classes, np.zeros(len(classes), bool))

    def by_key(self, table: int) -> tuple[Indices, NDArray[np.uint64]]:
        """Sorts these hashes by their keys in a table and by class; gives their indices and their keys."""
        keys = hash_tables.keys(self.words, table) << np.uint64(32)
        keys |= np.arange(len(keys), dtype=np.uint64)
        keys.sort()
        return (keys & np.uint64(0xFFFFFFFF)).astype(np.int64), keys >> np.uint64(32)


class HashJoin:
    """Finds the pairs of one hash of a class and one of another."""

    def __init__(
        self,
        hashes: Hashes,
        pairs: FirstNeighbours,
        one: Looking,
        other: Looking,
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

    def _within_large(self, table: int, looking: Looking, which: Indices, among: Looking, members: Indices) -> None:
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
        looking: Looking,
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
