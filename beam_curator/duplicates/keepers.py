"""Finds one keeper a group: a sample goes if, and only if, a better one within the threshold stays.

Samples are taken from the best to the last. So each that goes has a keeper that stays, no two that stay are within the
threshold, and there is one such answer (the lexicographically first maximal independent set).
"""

from __future__ import annotations

import array
import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from beam_curator.duplicates.edges import Edges
from beam_curator.duplicates.scratch import filled, laid_aside, pieces_of

_AHEAD = 1024
_TILE = 2048


class Compare(Protocol):
    """Compares classes whose pairs are not all listed, and tells distances."""

    def within(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Finds which of some classes are duplicates of which of some others: two int64 [k], indices into both,
        sorted."""
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


def numbered(codes: NDArray[np.integer], there: NDArray[np.bool_], order: NDArray[np.int64]) -> NDArray[np.int32]:
    """Samples of the same code as classes, numbered by their best sample: int32 [n], -1 where there is none.

    Args:
      codes: integers [n], of those that count 0 or more, and not much more than n.
      there: bool [n], which samples have one.
      order: int64 [n], all samples, the best first.
    """
    classes = filled(len(codes), -1)
    number = filled(int(codes.max(initial=-1)) + 1, -1)
    count = 0
    for some in pieces_of(order):
        ranked = some[there[some]]
        of = codes[ranked]
        new, first = np.unique(of[number[of] < 0], return_index=True)
        number[new[np.argsort(first)]] = np.arange(count, count + len(new), dtype=np.int32)
        count += len(new)
        classes[ranked] = number[of]
    return classes


def keep_one(
    order: NDArray[np.int64],
    competes: NDArray[np.bool_],
    base: NDArray[np.bool_],
    relations: Sequence[Relation],
    groups: NDArray[np.integer] | None = None,
) -> Drops:
    """Decides which samples go.

    Args:
      order: int64 [n], all samples, the best first, those of `base` before all others.
      competes: bool [n], which samples may stay or go; others are nobody's duplicate, and nobody is theirs.
      base: bool [n], which samples stay whatever they are near to.
      relations: the kinds of duplicates; where several relate two samples, the first one tells.
      groups: integers [n]; only samples of the same group are duplicates. None: all are of one.
    """
    position = _positions(order)
    walks = [_Walk(relation, order, position, competes, base, groups) for relation in relations]
    involved = np.zeros(len(order), bool)
    for walk in walks:
        involved |= walk.involved
    rows, keepers = array.array("q"), array.array("q")
    for row in (row for some in pieces_of(order) for row in some[involved[some]].tolist()):
        keeper = -1 if base[row] else _keeper_of(row, walks, position)
        if keeper < 0:
            for walk in walks:
                walk.keep(row)
        else:
            rows.append(row)
            keepers.append(order[keeper])
    return _told(np.array(rows, np.int64), np.array(keepers, np.int64), relations)


def _positions(order: NDArray[np.int64]) -> NDArray[np.int32]:
    """The place of each sample: int32 [n]."""
    position = filled(len(order), -1)
    start = 0
    for some in pieces_of(order):
        position[some] = np.arange(start, start + len(some), dtype=np.int32)
        start += len(some)
    return position


def _keeper_of(row: int, walks: Sequence[_Walk], position: NDArray[np.int32]) -> int:
    """The place of the first sample that stays and is near, or -1."""
    found = min((walk.near(row) for walk in walks), default=len(position))
    for walk in walks:
        found = min([found, *walk.looked_at_again(row, found)])
    return found if found < len(position) else -1


def _several(classes: NDArray[np.int32], takes_part: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    """Tells which classes more than one sample that takes part has: bool, by number."""
    seen, again = np.zeros(count, bool), np.zeros(count, bool)
    for of, chosen in zip(pieces_of(classes), pieces_of(takes_part), strict=True):
        some, times = np.unique(of[chosen], return_counts=True)
        again[some[(times > 1) | seen[some]]] = True
        seen[some] = True
    return again


class _Walk:
    """Follows one relation while samples are taken from the best to the last. They are told by their places in the
    order."""

    def __init__(
        self,
        relation: Relation,
        order: NDArray[np.int64],
        position: NDArray[np.int32],
        competes: NDArray[np.bool_],
        base: NDArray[np.bool_],
        groups: NDArray[np.integer] | None,
    ) -> None:
        self._order, self._position, self._groups = order, position, groups
        self._classes = relation.classes
        count = int(relation.classes.max(initial=-1)) + 2  # the last one is that of samples without a class: -1
        self._neighbours = _Neighbours(relation.edges, count)
        takes_part = (competes | base) & (relation.classes >= 0)
        self._bound = self._bounds(relation.edges, count)
        cut = self._bound < len(order)
        related = _several(relation.classes, takes_part, count)
        related |= cut
        related |= self._neighbours.has()
        self.involved = takes_part
        self.involved &= related[relation.classes]
        self._kept = _Kept(relation.classes, groups, self.involved, len(order))
        asked = self.involved & ~base & cut[relation.classes]
        self._asked = np.concatenate([order[:0], *(some[asked[some]] for some in pieces_of(order))])
        self._again = _Again(
            relation.compare,
            position[self._asked].astype(np.int64),
            relation.classes[self._asked].astype(np.int64),
            np.zeros(len(self._asked), np.int64) if groups is None else groups[self._asked].astype(np.int64),
            self._settled,
        )

    def _bounds(self, edges: Edges, count: int) -> NDArray[np.int32]:
        """Up to which place all samples near a class are known: int32 [classes]."""
        bounds = filled(count, len(self._order))
        if len(edges.cut):
            best = filled(count, len(self._order))
            for of, place in zip(pieces_of(self._classes), pieces_of(self._position), strict=True):
                np.minimum.at(best, of[of >= 0], place[of >= 0])
            bounds[edges.cut] = np.where(edges.horizon >= 0, best[np.maximum(edges.horizon, 0)], -1)
        return bounds

    def _group(self, row: int) -> int:
        return 0 if self._groups is None else int(self._groups[row])

    def near(self, row: int) -> int:
        """The place of the first sample that stays, and that is listed as a duplicate of this one; the number of all
        samples if there is none."""
        of = int(self._classes[row])
        return self._kept.first(self._neighbours.and_itself(of), self._group(row)) if of >= 0 else len(self._order)

    def looked_at_again(self, row: int, found: int) -> list[int]:
        """The place of the first sample that stays and is near, if it may be before the one that was found, and is not
        listed."""
        of = int(self._classes[row])
        if of < 0 or found <= self._bound[of] or self._bound[of] >= len(self._order):
            return []
        return self._again.near(int(self._position[row]))

    def _settled(self, asked: int) -> bool:
        """Whether one of those that may be compared again has a keeper by now, and the first one."""
        row = int(self._asked[asked])
        return self.near(row) <= int(self._bound[int(self._classes[row])])

    def keep(self, row: int) -> None:
        """Notes that this sample stays."""
        of, place = int(self._classes[row]), int(self._position[row])
        if of >= 0:
            group = self._group(row)
            self._kept.note(of, group, place)
            if self._bound[of] < len(self._order):
                self._again.add(of, group, place)


class _Kept:
    """The places of the first samples that stay: of each class, and of each group of it, one."""

    def __init__(
        self,
        classes: NDArray[np.int32],
        groups: NDArray[np.integer] | None,
        involved: NDArray[np.bool_],
        count: int,
    ) -> None:
        """Takes the class and the group of each sample, which of them are asked for, and how many there are."""
        self._keys: NDArray[np.int64] | None = None
        if groups is not None:
            self._group_count = int(groups.max(initial=0)) + 2
            pieces = zip(pieces_of(classes), pieces_of(groups), pieces_of(involved), strict=True)
            keys = (self._key(of[some].astype(np.int64), group[some]) for of, group, some in pieces)
            self._keys = laid_aside(itertools.chain(keys, [np.array([_LAST])]), np.int64)
            self._keys.sort()
        self._places = filled(int(classes.max(initial=-1)) + 1 if self._keys is None else len(self._keys), count)
        self._nobody = count

    def _key(self, classes: NDArray[np.int64], group: Any) -> NDArray[np.int64]:
        """Makes one number of a class and a group; of no group, -1, too."""
        return classes * self._group_count + group + 1

    def _at(self, classes: NDArray[np.integer], group: int) -> NDArray[np.integer]:
        """Where the places of some classes, of this group, are noted."""
        if self._keys is None:
            return classes
        keys = self._key(classes.astype(np.int64), group)
        at = self._keys.searchsorted(keys)
        return at[self._keys[at] == keys]

    def first(self, classes: NDArray[np.integer], group: int) -> int:
        """The first place of these classes, of this group; the number of all samples if there is none."""
        return int(self._places[self._at(classes, group)].min(initial=self._nobody))

    def note(self, of: int, group: int, place: int) -> None:
        """A sample of this class and group stays; places come in ascending order."""
        at = self._at(np.array([of]), group)
        self._places[at] = np.minimum(self._places[at], place)


_LAST = np.iinfo(np.int64).max


class _Neighbours:
    """The neighbours of classes: those with higher numbers, and those with lower ones."""

    def __init__(self, edges: Edges, count: int) -> None:
        order = np.argsort(edges.second, kind="stable")
        self._higher, self._lower = edges.second, edges.first[order]
        self._starts = [_starts(of, count) for of in (edges.first, edges.second[order])]

    def has(self) -> NDArray[np.bool_]:
        """Which classes have any: bool, by number."""
        higher, lower = (starts[1:] > starts[:-1] for starts in self._starts)
        higher |= lower
        return higher

    def and_itself(self, one: int) -> NDArray[np.int32]:
        """Gives the neighbours of one class, and the class."""
        higher, lower = self._starts
        sides = self._higher[higher[one] : higher[one + 1]], self._lower[lower[one] : lower[one + 1]]
        return np.concatenate([*sides, np.array([one], np.int32)])


def _starts(of: NDArray[np.int32], count: int) -> NDArray[np.integer]:
    """Where each of so many classes begins among pairs that are sorted by them: integers [count + 1]."""
    starts = filled(count + 1, 0, np.int32 if len(of) < 1 << 31 else np.int64)
    for start in range(0, count + 1, _TILE):
        some = np.arange(start, min(start + _TILE, count + 1), dtype=np.int32)
        starts[some] = of.searchsorted(some)
    return starts


class _Again:
    """Compares samples with all that stay and whose classes are not fully listed.

    Some that have no keeper yet are compared ahead, in a block, so that it is done by the matrix: with all that stay by
    then, and with one another. Those between them in the order have a keeper: so whatever stays later is of the block.
    """

    def __init__(
        self,
        compare: Compare,
        places: NDArray[np.int64],
        classes: NDArray[np.int64],
        groups: NDArray[np.int64],
        settled: Callable[[int], bool],
    ) -> None:
        """Takes the samples that may be asked for, by their places in the order, ascending.

        Args:
          compare: compares classes.
          places, classes, groups: int64 [n], of these samples.
          settled: says of one, by its number among them, whether it will not be asked for.
        """
        self._compare, self._settled = compare, settled
        self._places, self._classes, self._groups = places, classes, groups
        self._kept: list[tuple[int, int, int]] = []
        self._number: dict[int, int] = {}
        self._before = self._block = np.zeros(0, np.int64)
        self._near = np.zeros((0, 0), bool)
        self._stays = np.zeros(0, bool)

    def add(self, of: int, group: int, place: int) -> None:
        """A sample of this class and group stays."""
        self._kept.append((of, group, place))
        if place in self._number:
            self._stays[self._number[place]] = True

    def near(self, place: int) -> list[int]:
        """The place of the first sample that stays, is near the one at this place, and of its group; or nothing."""
        if place not in self._number:
            self._look_ahead(int(np.searchsorted(self._places, place)))
        number = self._number[place]
        if self._before[number] >= 0:
            return [int(self._before[number])]
        return self._block[self._near[number] & self._stays][:1].tolist()

    def _look_ahead(self, at: int) -> None:
        open_ = (one for one in range(at, len(self._places)) if one == at or not self._settled(one))
        block = np.fromiter(itertools.islice(open_, _AHEAD), np.int64)
        self._block = self._places[block]
        self._number = {place: number for number, place in enumerate(self._block.tolist())}
        self._before, self._stays = np.full(len(block), -1), np.zeros(len(block), bool)
        rest = np.arange(len(block))
        kept = np.array(self._kept, np.int64).reshape(-1, 3)
        for part in (kept[start : start + _TILE] for start in range(0, len(kept), _TILE)):
            row, other = self._within(block[rest], part[:, 0], part[:, 1])
            found, first = np.unique(row, return_index=True)
            self._before[rest[found]] = part[other[first], 2]
            rest = np.delete(rest, found)
            if not len(rest):
                break
        self._near = np.zeros((len(block), len(block)), bool)
        if len(rest):
            row, other = self._within(block[rest], self._classes[block[rest]], self._groups[block[rest]])
            self._near[rest[row], rest[other]] = True

    def _within(
        self, one: NDArray[np.int64], classes: NDArray[np.int64], groups: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Finds which of some samples are near, and of the group, of which of others: sorted indices of both."""
        row, other = self._compare.within(self._classes[one], classes)
        same = self._groups[one[row]] == groups[other]
        return row[same], other[same]


def _told(rows: NDArray[np.int64], of: NDArray[np.int64], relations: Sequence[Relation]) -> Drops:
    """Finds for each pair the first relation that holds, and its distance."""
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
