"""All pairs of vectors whose cosine reaches a threshold: complete by proof, not by luck.

Vectors are put into cells so that every such pair meets in one of them (`cells`). In a cell a float32 product proposes,
and where it is within its rounding of the threshold, the exact cosine decides (`vectors`). So the pairs are a function
of vectors and threshold alone; cells, seeds, threads and devices change only how long it takes.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from beam_curator.duplicates.cell_costs import CellCosts, Extent
from beam_curator.duplicates.cells import (
    MOST_CELLS,
    Assigning,
    Cells,
    apart,
    cells_for,
    centres_of,
    in_drawing_order,
    rows_at_a_time,
    sample_size,
    sampled,
)
from beam_curator.duplicates.edges import Edges, Listing, no_edges, together
from beam_curator.duplicates.products import Proposing, numpy_products, one_thread_a_product
from beam_curator.duplicates.scratch import counted, laid_aside
from beam_curator.duplicates.vectors import Vectors, cosines_of_pairs, directions, rounding_of

T = TypeVar("T")
U = TypeVar("U")

Indices = NDArray[np.int64]

PROVEN = 0.5
"""The slack, as a part of the greatest distance of a pair, with which no pair is missed."""

_TILE = 2048
_FILLED_AT_A_TIME = 128
_MOST_HELD = 1 << 16
"""The most vectors of a cell that are all held as float32 while it is compared: 200 MB of 768 numbers."""

_WAITING = 1024
"""The most pieces of work that are given to threads at once."""

_GAP = 1.25
"""The least distance of centres, in the greatest distances of a pair: measured with 30 % near copies of one picture,
where less makes many cells of them; without copies it costs nothing."""

_MET = 4 * _TILE
_TRIED = 8 * _TILE
"""The number of vectors by which cells are judged."""


@dataclasses.dataclass(frozen=True)
class Meeting:
    """Vectors that may have to be compared, known by their ranks.

    Attributes:
      vectors: gives the vectors of some ranks: int64 [m] to float16 [m, dim].
      base: bool [n]: vectors that need not be compared with one another, such as those of another output.
      known: bool [n]: vectors that were compared with one another before, and, if they are not `base`, with all of
        `known`.
    """

    vectors: Callable[[Indices], Vectors]
    base: NDArray[np.bool_]
    known: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.base)

    def wanted(self, one: Indices, other: Indices) -> NDArray[np.bool_]:
        """Tells which pairs of these ranks have to be compared: bool [m]."""
        return ~(self.known[one] & self.known[other]) & ~(self.base[one] & self.base[other])

    @property
    def extent(self) -> Extent:
        """The number of vectors that are to be compared."""
        fresh, base = ~self.known, self.base
        new = int((fresh & ~base).sum()) + min(int((fresh & base).sum()), int((self.known & ~base).sum()))
        return Extent(len(self), new)

    def any_wanted(self, ranks: Indices | slice = slice(None)) -> bool:
        """Whether any two of these may have to be compared."""
        known, base = self.known[ranks], self.base[ranks]
        if len(known) < 2:
            return False
        return bool((~known & ~base).any() or ((known & ~base).any() and (~known & base).any()))


@dataclasses.dataclass(frozen=True)
class Compared(Meeting):
    """The vectors that are compared, with their names.

    Attributes:
      ids: void16 [n], the names of the vectors, which differ, in the order of their ranks.
    """

    ids: NDArray[np.void]


@dataclasses.dataclass(frozen=True)
class Join:
    """The way in which pairs are found.

    Attributes:
      threshold: the least cosine of a pair.
      slack: how near to a cell's border a vector is compared beyond it, as a part of the greatest distance of a pair:
        with `PROVEN` no pair is missed; less is faster, and misses some.
      cells: how many; None for as many as suit.
      seed: which vectors the centres of cells are made from.
      threads: how many cells are worked on at a time.
      propose: makes the products, on a device if there is one.
      neighbours: how many of each vector are listed at least; None for `edges.NEIGHBOURS`.
    """

    threshold: float
    slack: float = PROVEN
    cells: int | None = None
    seed: int = 0
    threads: int = 1
    propose: Proposing = numpy_products
    neighbours: int | None = None

    @property
    def reach(self) -> float:
        """The distance from a border within which a vector is a guest beyond it."""
        return self.slack * self.farthest

    @property
    def farthest(self) -> float:
        """The greatest distance of a pair."""
        return float(np.sqrt(max(2 - 2 * self.threshold, 0.0) + 1e-6))


def join_fingerprint(compared: Compared, join: Join) -> str:
    """Hashes all that shapes the pieces of a join: 16 hex digits."""
    told = hashlib.sha256(f"1 {join.threshold!r} {join.slack!r} {join.cells} {join.seed} {join.neighbours}".encode())
    for array in (compared.ids, compared.base, compared.known):
        told.update(np.ascontiguousarray(array).view(np.uint8).data)
    return told.hexdigest()[:16]


def semantic_edges(compared: Compared, join: Join) -> Edges:
    """The pairs of vectors whose cosine is `join.threshold` or more, but for those that need not be compared."""
    count = len(compared)
    if not compared.any_wanted():
        return no_edges(count)
    with one_thread_a_product(), ThreadPoolExecutor(join.threads) as threads:
        cells = Cells(centres_for(compared, join, compared.extent, threads), join.reach)
        members = members_of(compared.vectors, counted(count), cells.prepared(join.propose), threads)
        return edges_in_cells(compared, join, members, threads)


def centres_for(
    compared: Compared, join: Join, extent: Extent, threads: ThreadPoolExecutor, most_visits: float = np.inf
) -> NDArray[np.float32]:
    """The centres of as many cells as are cheapest: more where that saves products, fewer where most vectors would be
    guests nearly everywhere, or oftener than they may be.

    Args:
      compared: the vectors that centres may be made from.
      join: how pairs are found.
      extent: what will be in the cells.
      threads: work on it.
      most_visits: as how many cells' guest a vector may be, on average.
    """
    cells = min(join.cells or cells_for(extent.vectors, extent.new), extent.vectors)
    looked_at = sample_size(max(cells, MOST_CELLS)) + _TRIED
    drawn = in_drawing_order(compared.ids, join.seed, looked_at)
    if join.cells or cells == 1:
        return _centres_of(compared, join, drawn, cells, threads)
    best, costs = _tried(compared, join, extent, cells, drawn, threads)
    for more in _doubled(cells, min(MOST_CELLS, extent.vectors)):
        if not costs.more_may_pay(more, extent):
            break
        centres, of_more = _tried(compared, join, extent, more, drawn, threads)
        if of_more.in_all >= costs.in_all:
            break
        best, costs, cells = centres, of_more, more
    while cells > 1 and (costs.everywhere or costs.visits > most_visits):
        cells = max(1, cells // (8 if costs.everywhere else 2))
        best, costs = _tried(compared, join, extent, cells, drawn, threads)
    return best


def _doubled(cells: int, most: int) -> Iterator[int]:
    while cells < most:
        cells = min(2 * cells, most)
        yield cells


def _centres_of(
    compared: Compared, join: Join, drawn: Indices, cells: int, threads: ThreadPoolExecutor
) -> NDArray[np.float32]:
    sample = _directions_of(compared, sampled(drawn, sample_size(cells)))
    return centres_of(sample, cells, threads.map, join.propose)


def _directions_of(compared: Compared, some: Indices) -> NDArray[np.float32]:
    """Gives the directions of some vectors, in a temporary file where they are many."""
    parts = (some[start : start + _TILE] for start in range(0, len(some), _TILE))
    dim = compared.vectors(some[:1]).shape[1]
    return laid_aside((directions(compared.vectors(part)) for part in parts), np.float32, dim)


def _tried(
    compared: Compared, join: Join, extent: Extent, cells: int, drawn: Indices, threads: ThreadPoolExecutor
) -> tuple[NDArray[np.float32], CellCosts]:
    """The centres of so many cells, or of fewer that are apart, and what these cost."""
    centres = apart(_centres_of(compared, join, drawn, cells, threads), _GAP * join.farthest)
    others = sampled(drawn, _TRIED, sample_size(cells))
    assigning = Cells(centres, join.reach).prepared(join.propose)
    return centres, CellCosts.of(assigning, _directions_of(compared, others), extent, threads.map)


@dataclasses.dataclass(frozen=True)
class Members:
    """The members of each cell; a vector is there once as a resident, and as often as it is a guest.

    Attributes:
      packed: int64 [m], ascending: 32 bits of the cell, 31 of the rank, and 1 of a guest.
    """

    packed: Indices

    @classmethod
    def of(cls, rank: np.ndarray, cell: np.ndarray, resident: NDArray[np.bool_]) -> Members:
        """Packs members that come in any order: integers [m] twice, and bool [m]."""
        packed = _packed(rank, cell, resident)
        packed.sort()
        return cls(packed)

    def __len__(self) -> int:
        return len(self.packed)

    @property
    def rank(self) -> NDArray[np.int32]:
        """Int32 [m], ascending within each cell."""
        return (self.packed >> 1 & _RANK).astype(np.int32)

    @property
    def cell(self) -> NDArray[np.int32]:
        """Int32 [m], ascending."""
        return (self.packed >> 32).astype(np.int32)

    @property
    def resident(self) -> NDArray[np.bool_]:
        """Bool [m]; the others are guests."""
        return self.packed & 1 == 0

    def starts(self) -> Indices:
        """Finds where each cell that has any begins, and where the last ends: int64 [cells + 1]."""
        last = int(self.packed[-1] >> 32) if len(self) else -1
        return np.unique(np.searchsorted(self.packed, np.arange(last + 2) << 32))

    def between(self, start: int, end: int) -> tuple[Indices, Indices]:
        """The residents and the guests among some."""
        some = Members(self.packed[start:end])
        rank, resident = some.rank.astype(np.int64), some.resident
        return rank[resident], rank[~resident]


_RANK = (1 << 31) - 1


def _packed(rank: np.ndarray, cell: np.ndarray, resident: NDArray[np.bool_]) -> Indices:
    return cell.astype(np.int64) << 32 | rank.astype(np.int64) << 1 | ~resident


def members_of(
    vectors: Callable[[Indices], Vectors], ranks: Indices, assigning: Assigning, threads: ThreadPoolExecutor
) -> Members:
    """Assigns vectors of these ranks, int64 [n], to cells."""

    size = rows_at_a_time(len(assigning.centres))

    def part(start: int) -> Indices:
        some = ranks[start : start + size]
        home, guest, cell = assigning.assign(directions(vectors(some)))
        resident = np.arange(len(home) + len(guest)) < len(home)
        return _packed(np.concatenate([some, some[guest]]), np.concatenate([home, cell]), resident)

    packed = laid_aside(_some_at_a_time(threads, part, range(0, len(ranks), size)), np.int64)
    packed.sort()
    return Members(packed)


def work_in_cells(residents: Indices, guests: Indices) -> Indices:
    """About how long each cell takes, int64 [cells], from how many are in it. Of near copies of one picture each meets
    some others alone, but for guests."""
    return np.asarray(residents * (np.minimum(residents, _MET) + guests) + 1)


def edges_in_cells(compared: Meeting, join: Join, members: Members, threads: ThreadPoolExecutor) -> Edges:
    """The pairs that meet in these cells."""
    bounds = itertools.pairwise(members.starts().tolist())
    found = _some_at_a_time(threads, lambda of_cell: _of_cell(compared, join, *members.between(*of_cell)), bounds)
    return together([edges for edges in found if len(edges.first)], len(compared))


def _some_at_a_time(threads: ThreadPoolExecutor, of: Callable[[T], U], all_: Iterable[T]) -> Iterator[U]:
    """Like `threads.map`, which holds some KB for each of all that are to come."""
    them = iter(all_)
    while some := list(itertools.islice(them, _WAITING)):
        yield from threads.map(of, some)


def _of_cell(compared: Meeting, join: Join, residents: Indices, guests: Indices) -> Edges:
    """The pairs of a cell's residents with one another and with its guests."""
    count = len(compared)
    ranks = np.concatenate([residents, guests])
    order = np.argsort(ranks)
    ranks, resident = ranks[order], order < len(residents)
    if not len(residents) or not compared.any_wanted(ranks):
        return no_edges(count)
    cell = _Cell(compared, join, ranks, resident, Listing(len(ranks), join.neighbours))
    for start in range(0, len(ranks), _TILE):
        cell.find(start, min(start + _TILE, len(ranks)))
    return cell.listing.edges(ranks, count, functools.partial(cosines_of_pairs, compared.vectors))


class _Cell:
    """A cell while its pairs are found, in the order of ranks, a tile at a time, and some of it, a *turn*, at a time.

    Those of a turn meet the rest of their tile, and all later ones that still want neighbours. Later ones that want
    none are met when their own tile is worked on, by the earlier ones that still want some. So of near copies of one
    picture nearly all are read once, and the few others among them meet them all together.
    """

    def __init__(
        self, compared: Meeting, join: Join, ranks: Indices, resident: NDArray[np.bool_], listing: Listing
    ) -> None:
        """Takes `ranks`, int64 [n], ascending, and `resident`, bool [n]."""
        self.compared, self.join, self.ranks, self.resident = compared, join, ranks, resident
        self.listing = listing
        self._turn = np.zeros(len(ranks), np.int64)  # the first of those with which each had its turn
        self._held: NDArray[np.float32] | None = None
        self._filled = np.full(len(ranks), len(ranks))  # the turn in which each was filled before its own

    def find(self, start: int, end: int) -> None:
        """Finds what there is between a tile and itself, all later ones, and the full ones of it and earlier ones.

        It takes some of the tile at a time as long as they have many neighbours: after those, of near copies of one
        picture, nearly all are full.
        """
        self._catch_up(np.arange(start, end))
        size = _FILLED_AT_A_TIME
        while start < end:
            one = np.arange(start, min(start + size, end))
            found = self._own_tile(one, np.arange(start, end)) + self._later(one, end)
            size = _FILLED_AT_A_TIME if found > self.listing.wanted * len(one) else _TILE
            start += len(one)

    def _catch_up(self, tile: Indices) -> None:
        """Compares those of a tile that are full with earlier ones that still want neighbours and have not met them."""
        full = tile[self.listing.full(tile)]
        if not len(full):
            return
        waiting = np.flatnonzero(~self.listing.full(np.arange(tile[0])))
        waiting = waiting[self._turn[waiting] > self._filled[full].min()]
        full = full[self._filled[full] < self._turn[waiting].max(initial=0)]
        for some in self._parts(waiting):
            found = [*self._meet(some, full)]
            one, other = (np.concatenate(ones) for ones in zip(*found, strict=True))
            new = self._filled[other] < self._turn[one]
            self._take(one[new], other[new])

    def _own_tile(self, one: Indices, tile: Indices) -> int:
        """A turn, and the rest of its tile; gives how many pairs there are."""
        full, open_ones = self.listing.full(one), tile[~self.listing.full(tile)]
        if full.all() and not len(open_ones):
            return 0
        found = [*self._meet(one[~full], tile, one[-1]), *self._meet(one[full], open_ones, one[-1])]
        return self._take(*(np.concatenate(ones) for ones in zip(*found, strict=True)))

    def _later(self, one: Indices, end: int) -> int:
        """A turn, and all behind its tile that want neighbours; gives how many pairs there are."""
        full, count = self.listing.full(np.arange(end, len(self.ranks))), 0
        later = end + np.flatnonzero(~full)
        self._turn[one] = one[0]
        if full.any():
            self.listing.knows_below(one, end + int(full.argmax()))
        for some in self._parts(later):
            found = [*self._meet(one, some, one[-1])]
            count += self._take(*(np.concatenate(ones) for ones in zip(*found, strict=True)))
        self._filled[later[self.listing.full(later)]] = one[0]
        return count

    def _parts(self, which: Indices) -> Iterator[Indices]:
        return (which[start : start + _TILE] for start in range(0, len(which), _TILE))

    def _take(self, one: Indices, other: Indices) -> int:
        if len(one):
            self.listing.add(one, other)
        return len(one)

    def _meet(self, one: Indices, other: Indices, last: int = -1) -> Iterator[tuple[Indices, Indices]]:
        """Residents with all, and guests with residents; with those up to `last` the residents have met."""
        yield self._block(one[self.resident[one]], other)
        yield self._block(one[~self.resident[one]], other[self.resident[other] & (other > last)])

    def _block(self, one: Indices, other: Indices) -> tuple[Indices, Indices]:
        """The pairs within the threshold that are wanted; of two residents of both sides, once."""
        found = [(one[:0], other[:0])]
        for some in self._alike(one):
            met = other[self.compared.wanted(self.ranks[some[:1]], self.ranks[other])]
            if len(met):
                sides = self._directions(some), self._directions(met)
                row, column = pairs_within(self.compared.vectors, self.ranks[some], self.ranks[met], self.join, sides)
                found.append((some[row], met[column]))
        firsts, seconds = (np.concatenate(ones) for ones in zip(*found, strict=True))
        once = ~((firsts >= seconds) & self.resident[seconds])
        return firsts[once], seconds[once]

    def _directions(self, which: Indices) -> NDArray[np.float32]:
        """The unit vectors of some: of a cell that is not too large, each is read and converted once."""
        if self._held is None:
            if not _TILE < len(self.ranks) <= _MOST_HELD:
                return directions(self.compared.vectors(self.ranks[which]))
            self._held = directions(self.compared.vectors(self.ranks))
        return self._held[which]

    def _alike(self, which: Indices) -> list[Indices]:
        """Parts vectors by what they need not be compared with: what is known and what is base of them."""
        ranks = self.ranks[which]
        kind = self.compared.known[ranks] + 2 * self.compared.base[ranks]
        return [which[kind == one] for one in np.unique(kind)]


def pairs_within(
    vectors: Callable[[Indices], Vectors],
    one: Indices,
    other: Indices,
    join: Join,
    sides: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
) -> tuple[Indices, Indices]:
    """Finds which of some vectors are within the threshold of which of some others: all are compared.

    Args:
      vectors: gives the vectors of these numbers.
      one, other: int64 [n] and [m], n and m > 0.
      join: its threshold and its way to make products are taken.
      sides: the `directions` of both, where they are at hand.

    Returns:
      two int64 [k], indices into `one` and `other`, sorted by the first, then by the second.
    """
    left, right = sides or (directions(vectors(one)), directions(vectors(other)))
    products, off = join.propose(left, right), rounding_of(left.shape[1])
    row, column = np.divmod(np.flatnonzero(products >= join.threshold - off), len(other))
    sure = products[row, column] >= join.threshold + off
    unsure = np.flatnonzero(~sure)
    exact = cosines_of_pairs(vectors, one[row[unsure]], other[column[unsure]])
    sure[unsure] = exact >= join.threshold
    return row[sure], column[sure]


@dataclasses.dataclass(frozen=True)
class Cosines:
    """Compares vectors one by one: what `keepers` asks where not all pairs are listed.

    Attributes:
      vectors: gives the vectors of classes: int64 [m] to float16 [m, dim].
      join: its threshold and its way to make products are taken.
    """

    vectors: Callable[[Indices], Vectors]
    join: Join

    def within(self, one: Indices, other: Indices) -> tuple[Indices, Indices]:
        """Finds which of some vectors are within the threshold of which of some others."""
        pieces = []
        for start in range(0, len(other), _TILE):
            row, column = pairs_within(self.vectors, one, other[start : start + _TILE], self.join)
            pieces.append((row, column + start))
        rows, columns = (np.concatenate(ones) for ones in zip(*pieces, strict=True))
        order = np.lexsort((columns, rows))
        return rows[order], columns[order]

    def distances(self, one: Indices, other: Indices) -> NDArray[np.float64]:
        """The cosines of pairs; NaN where they do not reach the threshold."""
        found = cosines_of_pairs(self.vectors, one, other)
        return np.where(found >= self.join.threshold, found, np.nan)
