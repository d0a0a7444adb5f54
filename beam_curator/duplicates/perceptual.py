"""All pairs of pictures whose hashes are near: complete by counting, not by luck.

Two pictures are perceptual duplicates if, and only if, their 64-bit hashes differ in `COARSE_BITS` bits at most, their
256-bit hashes in `bits` at most, both have a texture of at least `TEXTURE`, neither twice as much as the other, and
their colours agree (`_alike`). The first hash is short enough to be looked up, the second one decides. Pictures with
less texture are duplicates of equal files alone. Hashes are of shape: without the last two rules, of 1,000 drawn
products on white 25 pairs were taken for copies, most of them one shape in two colours.

64 bits are cut into 6 blocks. Where 4 bits differ, 2 blocks at least are the same; so a table for each 2 of the 6
blocks, 15 in all, has every such pair under one key. A pair is taken from the first table in which it meets.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from beam_curator.duplicates import edges as edges_module
from beam_curator.duplicates.edges import Edges, listed

COARSE_BITS = 4
"""In how many bits the 64-bit hashes of duplicates differ at most: two less than there are blocks."""

BITS = 32
"""In how many bits the 256-bit hashes of duplicates differ at most, by default."""

TEXTURE = 50
"""The least texture of pictures that are told apart by their hashes."""

Indices = NDArray[np.int64]

_BLOCKS = tuple((start, min(start + 11, 64)) for start in range(0, 64, 11))
_TABLES = tuple(itertools.combinations(range(len(_BLOCKS)), 2))
_SMALL = 128
_TILE = 64
_AT_A_TIME = 1 << 20
_PAIRS_AT_A_TIME = 1 << 17
_GREY = 8
_MOST_BITS = 96
_FAR = 256
_PRUNED_FROM = 1 << 22


@dataclasses.dataclass(frozen=True)
class Hashes:
    """Hashes of n pictures.

    Attributes:
      coarse: uint64 [n], `phash`.
      fine: uint64 [n, 4], `phash256`.
      texture: int32 [n].
      colours: uint8 [n, 48]; all 0 where they are not known.
    """

    coarse: NDArray[np.uint64]
    fine: NDArray[np.uint64]
    texture: NDArray[np.int32]
    colours: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.coarse)

    def take(self, which: Indices) -> Hashes:
        """Those of some pictures."""
        return Hashes(self.coarse[which], self.fine[which], self.texture[which], self.colours[which])

    @property
    def ids(self) -> NDArray[np.void]:
        """A name for each picture, which those share that are equal in all: void92 [n]."""
        words = np.column_stack([self.coarse, self.fine]).astype(">u8").view(np.uint8).reshape(-1, 40)
        texture = self.texture.astype(">u4").view(np.uint8).reshape(-1, 4)
        return np.hstack([words, texture, self.colours]).view("V92").ravel()

    @functools.cached_property
    def chroma(self) -> NDArray[np.int16]:
        """By how much blue and red are above the grey level in each part: int16 [n, 32]."""
        found = np.empty((len(self), 32), np.int16)
        for start in range(0, len(self), 1 << 16):
            red, green, blue = np.moveaxis(self.colours[start : start + (1 << 16)].reshape(-1, 16, 3), 2, 0).astype(int)
            grey = (299 * red + 587 * green + 114 * blue + 500) // 1000
            found[start : start + (1 << 16)] = np.hstack([blue - grey, red - grey])
        return found

    @functools.cached_property
    def chroma_squared(self) -> NDArray[np.int64]:
        """The squared length of each `chroma`: int64 [n]."""
        return np.einsum("ij,ij->i", self.chroma, self.chroma, dtype=np.int64)


def hashes_of(
    phash: Sequence[str | None],
    phash256: Sequence[str | None],
    texture: Sequence[int | None],
    colours: Sequence[str | None] | None = None,
) -> tuple[Hashes, NDArray[np.bool_]]:
    """The facts of n pictures as numbers, and which pictures can be compared: bool [n].

    Those without one of the first three facts, or with too little texture, cannot; their numbers are 0. Those without
    colours are taken for grey.
    """
    facts = zip(phash, phash256, texture, strict=True)
    there = np.array([None not in fact and (fact[2] or 0) >= TEXTURE for fact in facts], bool)
    coarse, fine = (_bytes_of(texts, there, size).view(">u8") for texts, size in ((phash, 8), (phash256, 32)))
    roughness = np.array([value if ok else 0 for value, ok in zip(texture, there.tolist(), strict=True)], np.int32)
    painted = _bytes_of(colours or [None] * len(there), there, 48)
    return Hashes(coarse.astype(np.uint64).ravel(), fine.astype(np.uint64), roughness, painted), there


def _bytes_of(texts: Sequence[str | None], there: NDArray[np.bool_], size: int) -> NDArray[np.uint8]:
    """Hex digits as bytes: uint8 [n, size], 0 for those that are not there."""
    nothing = "00" * size
    given = (text if ok and text is not None else nothing for text, ok in zip(texts, there.tolist(), strict=True))
    return np.frombuffer(bytes.fromhex("".join(given)), np.uint8).reshape(-1, size)


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
      bits: in how many bits `fine` may differ.
      base, known: bool [n], as of `semantic.Compared`: two of `base`, or two of `known`, are not compared.
    """
    join = _Join(hashes, bits, base, known)
    for table in range(len(_TABLES)):
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
        of = max(1, _AT_A_TIME // max(1, len(other)))
        for start in range(0, len(one), of):
            row, column = _coarsely_near(self.hashes.coarse[one[start : start + of]], self.hashes.coarse[other])
            row += start
            found = _distances(self.hashes, one[row], other[column]) <= self.bits
            rows.append(row[found])
            columns.append(column[found])
        return np.concatenate(rows), np.concatenate(columns)

    def distances(self, one: Indices, other: Indices) -> NDArray[np.float64]:
        """In how many bits of 256 pairs of classes differ: float64 [m]; NaN where they are no duplicates."""
        found = _distances(self.hashes, one, other)
        coarse = _ones(self.hashes.coarse[one] ^ self.hashes.coarse[other])
        return np.where((found <= self.bits) & (coarse <= COARSE_BITS), found.astype(np.float64), np.nan)


def _ones_of_halves(words: NDArray[np.uint64]) -> NDArray[np.uint8]:
    halves = np.ascontiguousarray(words).view(np.uint16).reshape(*words.shape, 4)
    return _ONES_OF_16[halves].sum(axis=-1, dtype=np.uint8)


_ONES_OF_16 = np.unpackbits(np.arange(1 << 16, dtype=np.uint16).view(np.uint8)).reshape(-1, 16).sum(1, dtype=np.uint8)

_ones = getattr(np, "bitwise_count", _ones_of_halves)  # of NumPy 2


def _coarsely_near(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> tuple[Indices, Indices]:
    row, column = np.nonzero(_ones(one[:, None] ^ other[None, :]) <= COARSE_BITS)
    return row, column


def _distances(hashes: Hashes, one: Indices, other: Indices) -> NDArray[np.int16]:
    """In how many bits of 256 pairs of pictures differ: int16 [m]; `_FAR` of those that are not alike in the rest."""
    found = np.zeros(len(one), np.int16)
    for start in range(0, len(one), _PAIRS_AT_A_TIME):
        part = slice(start, start + _PAIRS_AT_A_TIME)
        found[part] = _ones(hashes.fine[one[part]] ^ hashes.fine[other[part]]).sum(axis=1, dtype=np.int16)
        near = np.flatnonzero(found[part] <= _MOST_BITS) + start
        found[near[~_alike(hashes, one[near], other[near])]] = _FAR
    return found


def _alike(hashes: Hashes, one: Indices, other: Indices) -> NDArray[np.bool_]:
    """Which pairs agree in texture and in colour: bool [m].

    Neither has more than twice the texture of the other. Where both have colour, their chroma (blue and red above the
    grey level in 16 parts, a vector of 32 numbers) points the same way, cosine 0.6 or more, and neither is shorter than
    0.6 times the other. What has none (a length below 8 levels) may be a grey copy of what has.

    Measured: of photographs, tiles of them and drawn ones, edits (JPEG 30 to brightness x 1.3) leave a cosine of 0.68
    and lengths of 0.68 at least, textures of 0.53.
    """
    texture = hashes.texture[one].astype(np.int64), hashes.texture[other].astype(np.int64)
    alike = 2 * np.minimum(*texture) >= np.maximum(*texture)
    a, b = hashes.chroma_squared[one], hashes.chroma_squared[other]
    coloured = np.flatnonzero(alike & (np.minimum(a, b) >= _GREY**2))
    a, b = a[coloured], b[coloured]
    chroma = hashes.chroma[one[coloured]].astype(np.int32), hashes.chroma[other[coloured]].astype(np.int32)
    dot = np.einsum("ij,ij->i", *chroma).astype(np.int64)
    same = (dot > 0) & (100 * dot**2 >= 36 * a * b) & (100 * np.minimum(a, b) >= 36 * np.maximum(a, b))
    alike[coloured] = same
    return alike


def _first_tables() -> NDArray[np.int8]:
    """By which blocks two hashes have in common, as bits of a number: the first table in which they meet, or -1."""
    found = [
        next((at for at, (a, b) in enumerate(_TABLES) if common >> a & 1 and common >> b & 1), -1)
        for common in range(1 << len(_BLOCKS))
    ]
    return np.array(found, np.int8)


_FIRST_TABLE = _first_tables()
_MASKS = [np.uint64((1 << end) - (1 << start)) for start, end in _BLOCKS]


class _Join:
    """What is found so far.

    Attributes:
      horizon: int64 [n], up to which number neighbours of each class are wanted: the number of the `NEIGHBOURS`th of
        those that are known, or n. It only falls, so what was left out once is not wanted later.
    """

    def __init__(
        self, hashes: Hashes, bits: int, base: NDArray[np.bool_] | None, known: NDArray[np.bool_] | None
    ) -> None:
        self._hashes, self._bits, self._base, self._known = hashes, bits, base, known
        self._most = edges_module.NEIGHBOURS
        self._found: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int16]]] = []
        self._pairs, self._pruned = 0, 0
        self.horizon = np.full(len(hashes), len(hashes), np.int64)

    def look_into(self, table: int) -> None:
        """Finds the pairs that meet in a table first."""
        low, high = (_BLOCKS[block] for block in _TABLES[table])
        keys = ((self._hashes.coarse & _MASKS[_TABLES[table][0]]) >> np.uint64(low[0])).astype(np.uint32)
        keys <<= np.uint32(high[1] - high[0])
        keys |= ((self._hashes.coarse & _MASKS[_TABLES[table][1]]) >> np.uint64(high[0])).astype(np.uint32)
        order = np.argsort(keys, kind="stable")
        ends = np.append(np.flatnonzero(np.diff(keys[order])) + 1, len(order)) if len(order) else np.zeros(0, np.int64)
        sizes = np.diff(ends, prepend=0)
        self._within_small(table, order, ends, sizes)
        for end, size in zip(ends[sizes > _SMALL].tolist(), sizes[sizes > _SMALL].tolist(), strict=True):
            self._within_large(table, order[end - size : end])

    def _within_small(self, table: int, order: Indices, ends: Indices, sizes: Indices) -> None:
        """Compares each class with those behind it under the same key, one place after the other."""
        small = np.where(sizes <= _SMALL, ends, 0)
        until = np.repeat(small, sizes)
        coarse = self._hashes.coarse[order]
        at = np.arange(len(order))
        for shift in range(1, _SMALL):
            at = at[at + shift < until[at]]
            if not len(at):
                return
            candidates = at[_ones(coarse[at] ^ coarse[at + shift]) <= COARSE_BITS]
            one, other = order[candidates], order[candidates + shift]
            which, distance = self._decided(table, one, other)
            self._add(one[which], other[which], distance)

    def _decided(self, table: int, one: Indices, other: Indices) -> tuple[Indices, NDArray[np.int16]]:
        """Which of coarsely near pairs are duplicates, wanted, and meet in this table first; and in how many bits they
        differ."""
        wanted = (other <= self.horizon[one]) | (one <= self.horizon[other])
        for compared in (self._known, self._base):
            if compared is not None:
                wanted &= ~(compared[one] & compared[other])
        which = np.flatnonzero(wanted)
        which = which[self._first_here(table, one[which], other[which])]
        distance = _distances(self._hashes, one[which], other[which])
        near = distance <= self._bits
        return which[near], distance[near]

    def _first_here(self, table: int, one: Indices, other: Indices) -> Indices:
        """Which pairs that meet in this table met in none before."""
        if table == 0:
            return np.arange(len(one))
        differing = self._hashes.coarse[one] ^ self._hashes.coarse[other]
        common = np.zeros(len(one), np.uint8)
        for block, mask in enumerate(_MASKS):
            common += ((differing & mask) == 0).view(np.uint8) << np.uint8(block)
        return np.flatnonzero(_FIRST_TABLE[common] == table)

    def _within_large(self, table: int, members: Indices) -> None:
        """Compares some classes with all behind them that are wanted, then the next ones."""
        counts = np.zeros(len(members), np.int64)
        open_ = np.arange(len(members))
        for start, end in _tiles(len(members)):
            tile = np.arange(start, end)
            first = int(members[start])
            open_ = open_[(open_ >= start) & (self.horizon[members[open_]] >= first)]
            reached = int(np.searchsorted(members, self.horizon[members[tile]].max(), side="right"))
            wanted = np.concatenate([np.arange(start, reached), open_[open_ >= max(reached, start)]])
            for part in range(0, len(wanted), _AT_A_TIME // _TILE):
                self._compare(table, members, counts, tile, wanted[part : part + _AT_A_TIME // _TILE])

    def _compare(self, table: int, members: Indices, counts: Indices, tile: Indices, wanted: Indices) -> None:
        """Compares some places under a key with others behind them; `counts` int64 [places] is how many neighbours
        each was found to have here."""
        row, column = _coarsely_near(self._hashes.coarse[members[tile]], self._hashes.coarse[members[wanted]])
        behind = tile[row] < wanted[column]
        row, column = tile[row[behind]], wanted[column[behind]]
        which, distance = self._decided(table, members[row], members[column])
        if not len(which):
            return
        row, column = row[which], column[which]
        counts += np.bincount(row, minlength=len(counts)) + np.bincount(column, minlength=len(counts))
        one, other = members[row], members[column]
        full = max(counts[tile].max(), counts[wanted].max(initial=0)) >= self._most
        if full:
            first = self._among_the_first(members, counts, row, column)
            one, other, distance = one[first], other[first], distance[first]
        self._add(one, other, distance)

    def _among_the_first(self, members: Indices, counts: Indices, row: Indices, column: Indices) -> NDArray[np.bool_]:
        """Which pairs of places are among the first `NEIGHBOURS` of one of both; lowers the horizon of those that have
        as many. Each place meets others in their order, those of this call last."""
        of, neighbour = np.concatenate([row, column]), np.concatenate([column, row])
        order = np.argsort(of * len(members) + neighbour)
        of, neighbour = of[order], neighbour[order]
        starts = np.flatnonzero(np.diff(of, prepend=-1))
        sizes = np.diff(starts, append=len(of))
        place = np.arange(len(of)) + np.repeat(counts[of[starts]] - sizes - starts, sizes)
        last = place == self._most - 1
        beyond = members[of[last]]
        self.horizon[beyond] = np.minimum(self.horizon[beyond], members[neighbour[last]])
        found = np.empty(len(of), bool)
        found[order] = place < self._most
        return np.asarray(found.reshape(2, -1).any(axis=0))

    def _add(self, one: Indices, other: Indices, distance: NDArray[np.int16]) -> None:
        if len(one):
            self._found.append((one.astype(np.int32), other.astype(np.int32), distance))
            self._pairs += len(one)
        if self._pairs > self._pruned + _PRUNED_FROM:
            self._prune()

    def _prune(self) -> None:
        """Lowers horizons to what is known now, and leaves out pairs beyond both."""
        if not self._found:
            return
        one, other, distance = (np.concatenate(ones) for ones in zip(*self._found, strict=True))
        count = len(self._hashes)
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


def _tiles(count: int) -> Iterator[tuple[int, int]]:
    """From where to where classes are compared at a time: the first ones few by few, since of many near copies of one
    picture, nearly all are full after as many as `NEIGHBOURS`."""
    starts = [*range(0, min(count, _TILE), max(1, _TILE // 4)), *range(_TILE, count, _TILE), count]
    return itertools.pairwise(starts)


def _of_each(
    one: NDArray[np.int32], other: NDArray[np.int32], count: int, chosen: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """The neighbours of chosen classes, sorted: class times `count` plus neighbour."""
    forward, back = chosen[one], chosen[other]
    both = np.concatenate([one[forward].astype(np.int64) * count, other[back].astype(np.int64) * count])
    both += np.concatenate([other[forward], one[back]])
    both.sort()
    return both
