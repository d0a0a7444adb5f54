"""All pairs of vectors whose cosine reaches a threshold: complete by proof, not by luck.

Vectors are put into cells so that every such pair meets in one of them (`cells`). In a cell a float32 product proposes,
and where it is within its rounding of the threshold, the exact cosine decides (`vectors`). So the pairs are a function
of vectors and threshold alone; cells, seeds, threads and devices change only how long it takes.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from beam_curator.duplicates.cells import Assigning, Cells, apart, cells_for, centres_of, sampled
from beam_curator.duplicates.edges import Edges, Listing, no_edges, together
from beam_curator.duplicates.products import Proposing, numpy_products
from beam_curator.duplicates.vectors import Vectors, cosines_of_pairs, directions, rounding_of

Indices = NDArray[np.int64]

PROVEN = 0.5
"""The slack, as a part of the greatest distance of a pair, with which no pair is missed."""

_TILE = 2048
_FILLED_AT_A_TIME = 128
_GAP = 1.25
"""How far apart centres are at least, in the greatest distances of a pair: measured with 30 % near copies of one
picture, where less makes many cells of them; without copies it costs nothing."""

_ASSIGNED_AT_A_TIME = 2048
_GROUPS = 64
_MET = 4 * _TILE
_MOST_VISITS = 1 / 8


@dataclasses.dataclass(frozen=True)
class Compared:
    """What is compared.

    Attributes:
      ids: void16 [n], the names of the vectors, which differ, in the order of their ranks.
      vectors: gives the vectors of some ranks: int64 [m] to float16 [m, dim].
      base: bool [n]: vectors that need not be compared with one another, such as those of another output.
      known: bool [n]: vectors that were compared with one another before, and, if they are not `base`, with all of
        `known`.
    """

    ids: NDArray[np.void]
    vectors: Callable[[Indices], Vectors]
    base: NDArray[np.bool_]
    known: NDArray[np.bool_]

    def wanted(self, one: Indices, other: Indices) -> NDArray[np.bool_]:
        """Which pairs of these ranks have to be compared: bool [m]."""
        return ~(self.known[one] & self.known[other]) & ~(self.base[one] & self.base[other])


@dataclasses.dataclass(frozen=True)
class Join:
    """How pairs are found.

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
        """How near to a border a vector has to be to be a guest beyond it."""
        return self.slack * self.farthest

    @property
    def farthest(self) -> float:
        """The greatest distance of a pair."""
        return float(np.sqrt(max(2 - 2 * self.threshold, 0.0) + 1e-6))


class Progress(Protocol):
    """Where what is done of a join is kept, so that one that was killed goes on."""

    def recall(self, name: str) -> Edges | None:
        """What was kept under a name."""
        ...

    def keep(self, name: str, edges: Edges) -> None:
        """Keeps a piece of the result."""
        ...


def join_fingerprint(compared: Compared, join: Join) -> str:
    """What shapes the pieces of a join, as 16 hex digits."""
    told = hashlib.sha256(f"1 {join.threshold!r} {join.slack!r} {join.cells} {join.seed} {join.neighbours}".encode())
    for array in (compared.ids, compared.base, compared.known):
        told.update(np.ascontiguousarray(array).view(np.uint8).data)
    return told.hexdigest()[:16]


def semantic_edges(compared: Compared, join: Join, progress: Progress | None = None) -> Edges:
    """The pairs of vectors whose cosine is `join.threshold` or more, but for those that need not be compared."""
    count = len(compared.ids)
    if count < 2 or bool((compared.known | compared.base).all() and not _meets(compared)):
        return no_edges(count)
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(join.threads) as threads:
        centres = _centres(compared, join, count, threads)
        places = _assigned(compared, Cells(centres, join.reach).prepared(), threads)
        groups = list(places.groups())

        def found(index: int) -> Edges:
            name = f"{places.digest}-{index:05d}"
            kept = progress.recall(name) if progress else None
            if kept is None:
                kept = together([_of_cell(compared, join, *places.of(cell)) for cell in groups[index]], count)
                if progress:
                    progress.keep(name, kept)
            return kept

        return together(list(threads.map(found, range(len(groups)))), count)


def _meets(compared: Compared) -> bool:
    """Whether a vector that is known has to meet one of the base that is not."""
    return bool((compared.known & ~compared.base).any() and (compared.base & ~compared.known).any())


def _centres(compared: Compared, join: Join, count: int, threads: ThreadPoolExecutor) -> NDArray[np.float32]:
    """As many centres as suit: if most vectors were guests nearly everywhere, fewer."""
    cells = min(join.cells or cells_for(count), count)
    while True:
        some = sampled(compared.ids, cells, join.seed)
        sample = directions(compared.vectors(some))
        centres = centres_of(sample, cells, threads.map)
        if join.cells or cells == 1:
            return centres
        centres = apart(centres, _GAP * join.farthest)
        tried = sample[:_ASSIGNED_AT_A_TIME]
        _, guests, _ = Cells(centres, join.reach).prepared().assign(tried)
        if len(guests) <= _MOST_VISITS * len(centres) * len(tried):
            return centres
        cells = max(1, cells // 8)


@dataclasses.dataclass(frozen=True)
class _Places:
    """Who is in which cell: ranks, ascending within each cell.

    Attributes:
      residents, guests: int32, by cell.
      resident_starts, guest_starts: int64 [cells + 1], where each cell's begin.
    """

    residents: NDArray[np.int32]
    resident_starts: Indices
    guests: NDArray[np.int32]
    guest_starts: Indices

    def of(self, cell: int) -> tuple[Indices, Indices]:
        """The residents and the guests of a cell."""
        residents = self.residents[self.resident_starts[cell] : self.resident_starts[cell + 1]]
        guests = self.guests[self.guest_starts[cell] : self.guest_starts[cell + 1]]
        return residents.astype(np.int64), guests.astype(np.int64)

    @functools.cached_property
    def digest(self) -> str:
        """What tells these places from others, as 8 hex digits. Centres are made of float32 sums, which another
        processor rounds otherwise: what was found in other places does not fit together with what is found here."""
        told = hashlib.sha256()
        for array in (self.residents, self.resident_starts, self.guests, self.guest_starts):
            told.update(np.ascontiguousarray(array).view(np.uint8).data)
        return told.hexdigest()[:8]

    def groups(self) -> Iterator[Sequence[int]]:
        """All cells in groups of about the same work. Of near copies of one picture each meets some others alone."""
        lived, visited = np.diff(self.resident_starts), np.diff(self.guest_starts)
        work = np.cumsum(lived * np.minimum(lived + visited, _MET) + 1)
        group = ((work - 1) * _GROUPS) // work[-1]
        for cells in np.split(np.arange(len(work)), np.flatnonzero(np.diff(group)) + 1):
            yield cells.tolist()


def _assigned(compared: Compared, assigning: Assigning, threads: ThreadPoolExecutor) -> _Places:
    count, cells = len(compared.ids), len(assigning.centres)

    def part(start: int) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
        ranks = np.arange(start, min(start + _ASSIGNED_AT_A_TIME, count))
        home, guest, cell = assigning.assign(directions(compared.vectors(ranks)))
        return home, guest + np.int32(start), cell

    parts = list(threads.map(part, range(0, count, _ASSIGNED_AT_A_TIME)))
    home, guest, cell = (np.concatenate(ones) for ones in zip(*parts, strict=True))
    return _Places(*_by_cell(np.arange(count, dtype=np.int32), home, cells), *_by_cell(guest, cell, cells))


def _by_cell(ranks: NDArray[np.int32], cell: NDArray[np.int32], cells: int) -> tuple[NDArray[np.int32], Indices]:
    order = np.argsort(cell, kind="stable")
    return ranks[order], np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=cells))])


def _of_cell(compared: Compared, join: Join, residents: Indices, guests: Indices) -> Edges:
    """The pairs of a cell's residents with one another and with its guests."""
    count = len(compared.ids)
    ranks = np.concatenate([residents, guests])
    order = np.argsort(ranks)
    ranks, resident = ranks[order], order < len(residents)
    if len(ranks) < 2 or not len(residents) or not _has_wanted(compared, ranks):
        return no_edges(count)
    cell = _Cell(compared, join, ranks, resident, Listing(len(ranks), join.neighbours))
    for start in range(0, len(ranks), _TILE):
        cell.find(start, min(start + _TILE, len(ranks)))
    return cell.listing.edges(ranks, count, functools.partial(cosines_of_pairs, compared.vectors))


def _has_wanted(compared: Compared, ranks: Indices) -> bool:
    """Whether any two of these may have to be compared."""
    known, base = compared.known[ranks], compared.base[ranks]
    return bool((~known & ~base).any() or ((known & ~base).any() and (~known & base).any()))


class _Cell:
    """A cell while its pairs are found, in the order of ranks, a tile at a time, and some of it, a *turn*, at a time.

    Those of a turn meet the rest of their tile, and all later ones that still want neighbours. Later ones that want
    none are met when their own tile is worked on, by the earlier ones that still want some. So of near copies of one
    picture nearly all are read once, and the few others among them meet them all together.
    """

    def __init__(
        self, compared: Compared, join: Join, ranks: Indices, resident: NDArray[np.bool_], listing: Listing
    ) -> None:
        """Of `ranks`, int64 [n], ascending; `resident`, bool [n]."""
        self.compared, self.join, self.ranks, self.resident = compared, join, ranks, resident
        self.listing = listing
        self._turn = np.zeros(len(ranks), np.int64)  # the first of those with which each had its turn
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
        """Those of a tile that are full, and earlier ones that still want neighbours and have not met them."""
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
        """The pairs within the threshold; of two residents of both sides, once."""
        if not len(one) or not len(other):
            return one[:0], other[:0]
        row, column = pairs_within(self.compared.vectors, self.ranks[one], self.ranks[other], self.join)
        firsts, seconds = one[row], other[column]
        wanted = ~((firsts >= seconds) & self.resident[seconds])
        wanted &= self.compared.wanted(self.ranks[firsts], self.ranks[seconds])
        return firsts[wanted], seconds[wanted]


def pairs_within(
    vectors: Callable[[Indices], Vectors], one: Indices, other: Indices, join: Join
) -> tuple[Indices, Indices]:
    """Which of some vectors are within the threshold of which of some others: all are compared.

    Args:
      vectors: gives the vectors of these numbers.
      one, other: int64 [n] and [m], n and m > 0.
      join: its threshold and its way to make products are taken.

    Returns:
      two int64 [k], indices into `one` and `other`, sorted by the first, then by the second.
    """
    left = directions(vectors(one))
    products, off = join.propose(left, directions(vectors(other))), rounding_of(left.shape[1])
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
        """Which of some are within the threshold of which of some others."""
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
