"""One keeper a group: a sample goes if, and only if, a better one within the threshold stays.

Samples are taken from the best to the last. So each that goes has a keeper that stays, no two that stay are within the
threshold, and there is one such answer (the lexicographically first maximal independent set).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from beam_curator.duplicates.edges import Edges

_AHEAD = 64


class Compare(Protocol):
    """Compares classes whose pairs are not all listed, and tells distances."""

    def within(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which of some classes are duplicates of which of some others: two int64 [k], indices into both, sorted."""
        ...

    def distances(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
        """The distances of pairs of classes: float64 [m]; NaN where they are no duplicates."""
        ...


class NothingElse:
    """Compares what has no other pairs than those that are listed."""

    def within(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """None."""
        return one[:0], other[:0]

    def distances(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
        """None."""
        return np.full(len(one), np.nan)


@dataclasses.dataclass(frozen=True)
class Relation:
    """One kind of duplicates.

    Attributes:
      kind: its name.
      classes: int32 [n], the class of each sample, numbered by rank (see `edges`); -1 where it has none. Samples of
        one class are duplicates.
      edges: which classes are.
      compare: for what is not listed.
      equal: the distance within a class; NaN for none.
    """

    kind: str
    classes: NDArray[np.int32]
    edges: Edges
    compare: Compare
    equal: float


@dataclasses.dataclass(frozen=True)
class Drops:
    """The samples that go, in order, and why.

    Attributes:
      rows: int64 [m], which samples.
      of: int64 [m], for each the first sample, in the order, that stays and is within a threshold of it.
      kind: int64 [m], index into the relations: the first one that relates both.
      distance: float64 [m], NaN for none.
    """

    rows: NDArray[np.int64]
    of: NDArray[np.int64]
    kind: NDArray[np.int64]
    distance: NDArray[np.float64]


def numbered(ids: np.ndarray, there: NDArray[np.bool_], order: NDArray[np.int64]) -> NDArray[np.int32]:
    """Equal ids as classes, numbered by their best sample: int32 [n], -1 where there is none.

    Args:
      ids: [n], of any type that can be sorted.
      there: bool [n], which samples have one.
      order: int64 [n], all samples, the best first.
    """
    classes = np.full(len(ids), -1, np.int32)
    ranked = order[there[order]]
    if len(ranked):
        _, firsts, inverse = np.unique(ids[ranked], return_index=True, return_inverse=True)
        rank = np.empty(len(firsts), np.int32)
        rank[np.argsort(firsts)] = np.arange(len(firsts), dtype=np.int32)
        classes[ranked] = rank[inverse.ravel()]
    return classes


def keep_one(
    order: NDArray[np.int64],
    competes: NDArray[np.bool_],
    base: NDArray[np.bool_],
    relations: Sequence[Relation],
    groups: NDArray[np.int64] | None = None,
) -> Drops:
    """Which samples go.

    Args:
      order: int64 [n], all samples, the best first, those of `base` before all others.
      competes: bool [n], which samples may stay or go; others are nobody's duplicate, and nobody is theirs.
      base: bool [n], which samples stay whatever they are near to.
      relations: the kinds of duplicates; where several relate two samples, the first one tells.
      groups: int64 [n]; only samples of the same group are duplicates. None: all are of one.
    """
    position = np.empty(len(order), np.int64)
    position[order] = np.arange(len(order))
    walks = [_Walk(relation, order, position, competes, base, groups) for relation in relations]
    involved = np.zeros(len(order), bool)
    for walk in walks:
        involved |= walk.involved
    rows, keepers = [], []
    for row in order[(involved & (competes | base))[order]].tolist():
        keeper = -1 if base[row] else _keeper_of(row, walks, position)
        if keeper < 0:
            for walk in walks:
                walk.keep(row)
        else:
            rows.append(row)
            keepers.append(keeper)
    return _told(np.array(rows, np.int64), np.array(keepers, np.int64), relations)


def _keeper_of(row: int, walks: Sequence[_Walk], position: NDArray[np.int64]) -> int:
    """The first sample that stays and is near, or -1."""
    found = min((place for walk in walks for place in walk.near(row)), default=len(position))
    for walk in walks:
        found = min([found, *walk.looked_at_again(row, found)])
    return walks[0].row_at(found) if found < len(position) else -1


class _Walk:
    """One relation, while samples are taken from the best to the last. They are told by their places in the order."""

    def __init__(
        self,
        relation: Relation,
        order: NDArray[np.int64],
        position: NDArray[np.int64],
        competes: NDArray[np.bool_],
        base: NDArray[np.bool_],
        groups: NDArray[np.int64] | None,
    ) -> None:
        self._order, self._position, self._groups = order, position, groups
        self._classes = relation.classes
        count = int(relation.classes.max(initial=-1)) + 2  # the last one is that of samples without a class: -1
        self._neighbours = _Neighbours(relation.edges, count)
        takes_part = (competes | base) & (relation.classes >= 0)
        sizes = np.bincount(relation.classes[takes_part], minlength=count)
        self._bound = self._bounds(relation.edges, count)
        cut = self._bound < len(order)
        related = (sizes > 1) | self._neighbours.has | cut
        self.involved = takes_part & related[relation.classes]
        self._kept: dict[tuple[int, int], int] = {}
        asked = order[(self.involved & ~base & cut[relation.classes])[order]]
        self._again = _Again(relation.compare, relation.classes[asked].astype(np.int64))

    def _bounds(self, edges: Edges, count: int) -> NDArray[np.int64]:
        """Up to which place all samples near a class are known: int64 [classes]."""
        there = self._order[self._classes[self._order] >= 0]
        best = np.full(count, len(self._order), np.int64)
        np.minimum.at(best, self._classes[there], self._position[there])
        bounds = np.full(count, len(self._order), np.int64)
        bounds[edges.cut] = np.where(edges.horizon >= 0, best[np.maximum(edges.horizon, 0)], -1)
        return bounds

    def row_at(self, place: int) -> int:
        """The sample at this place."""
        return int(self._order[place])

    def _group(self, row: int) -> int:
        return 0 if self._groups is None else int(self._groups[row])

    def near(self, row: int) -> list[int]:
        """The places of samples that stay, and that are listed as duplicates of this one."""
        of = int(self._classes[row])
        if of < 0:
            return []
        group, kept = self._group(row), self._kept
        found = [kept.get((one, group)) for one in (of, *self._neighbours.of(of))]
        return [place for place in found if place is not None]

    def looked_at_again(self, row: int, found: int) -> list[int]:
        """The places of samples that stay, that may be before the one that was found, and are not listed."""
        of = int(self._classes[row])
        if of < 0 or found <= self._bound[of] or self._bound[of] >= len(self._order):
            return []
        group = self._group(row)
        places = self._again.near(of)
        return [place for place in places if self._group(self.row_at(place)) == group][:1]

    def keep(self, row: int) -> None:
        """This sample stays."""
        of, place = int(self._classes[row]), int(self._position[row])
        if of >= 0:
            self._kept.setdefault((of, self._group(row)), place)
            if self._bound[of] < len(self._order):
                self._again.add(of, place)


class _Neighbours:
    """The neighbours of classes."""

    def __init__(self, edges: Edges, count: int) -> None:
        of = np.concatenate([edges.first, edges.second])
        order = np.argsort(of, kind="stable")
        self._neighbours = np.concatenate([edges.second, edges.first])[order]
        sizes = np.bincount(of, minlength=count)
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        self.has = sizes > 0

    def of(self, one: int) -> list[int]:
        """Those of one class."""
        return self._neighbours[self._starts[one] : self._starts[one + 1]].tolist()


class _Again:
    """Compares a class with all that stay and are not fully listed; some classes that will be asked for are compared
    ahead, so that it is done by the matrix."""

    def __init__(self, compare: Compare, asked: NDArray[np.int64]) -> None:
        self._compare, self._asked = compare, asked
        self._next = 0
        self._classes: list[int] = []
        self._places: list[int] = []
        self._ahead: dict[int, list[int]] = {}
        self._compared = 0

    def add(self, of: int, place: int) -> None:
        """A sample of this class stays."""
        self._classes.append(of)
        self._places.append(place)

    def near(self, of: int) -> list[int]:
        """The places of those near a class, in order."""
        if of not in self._ahead:
            self._look_ahead(of)
        since = self._within(np.array([of]), self._compared)
        return [self._places[one] for one in (*self._ahead[of], *since.get(of, ()))]

    def _look_ahead(self, of: int) -> None:
        rest = self._asked[self._next :]
        at = self._next + int(np.flatnonzero(rest == of)[0])
        block = np.unique(self._asked[at : at + _AHEAD])
        self._next = at
        self._ahead = {one: [] for one in block.tolist()} | self._within(block, 0)
        self._compared = len(self._classes)

    def _within(self, block: NDArray[np.int64], since: int) -> dict[int, list[int]]:
        """Of each class of a block, which of those that stay are near, counted from the first."""
        kept = np.array(self._classes[since:], np.int64)
        if not len(kept):
            return {}
        one, other = self._compare.within(block, kept)
        found: dict[int, list[int]] = {}
        for index, near in zip(block[one].tolist(), (other + since).tolist(), strict=True):
            found.setdefault(index, []).append(near)
        return found


def _told(rows: NDArray[np.int64], of: NDArray[np.int64], relations: Sequence[Relation]) -> Drops:
    """Of each pair the first relation that holds, and its distance."""
    kind, distance = np.full(len(rows), -1, np.int64), np.full(len(rows), np.nan)
    for index, relation in enumerate(relations):
        one, other = relation.classes[rows].astype(np.int64), relation.classes[of].astype(np.int64)
        open_ = (kind < 0) & (one >= 0) & (other >= 0)
        equal = open_ & (one == other)
        kind[equal], distance[equal] = index, relation.equal
        rest = np.flatnonzero(open_ & (one != other))
        found = _distances(relation, one[rest], other[rest])
        near = ~np.isnan(found)
        kind[rest[near]], distance[rest[near]] = index, found[near]
    return Drops(rows, of, kind, distance)


def _distances(relation: Relation, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
    """The distances of pairs of classes; NaN where they are no duplicates. Only what is not listed is compared."""
    found = relation.edges.distances(one, other)
    cut = relation.edges.cut
    unlisted = np.flatnonzero(np.isnan(found) & np.isin(one, cut) & np.isin(other, cut))
    if len(unlisted):
        found[unlisted] = relation.compare.distances(one[unlisted], other[unlisted])
    return found
