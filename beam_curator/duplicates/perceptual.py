"""All pairs of pictures that are near by their hashes, and alike (see `likeness`), found where hashes meet (see
`hash_tables`).

The hashes of all pictures are compared with one another first, then those that an edit would leave with those of all: a
class that has as many neighbours as are listed by then looks for nearer ones alone (see `hash_join`).
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from beam_curator.duplicates.edges import Edges
from beam_curator.duplicates.first_neighbours import FirstNeighbours
from beam_curator.duplicates.hash_join import HashJoin, Looking
from beam_curator.duplicates.hashes import BITS, EDIT_BITS, Hashes, Indices, bits_between
from beam_curator.duplicates.likeness import distances, sides

_AT_A_TIME = 1 << 20


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
    pairs, everyone = FirstNeighbours(len(hashes)), np.arange(len(hashes))
    pictures = Looking.of(hashes.fine, everyone)
    kept_apart = [those for those in (base, known) if those is not None]
    HashJoin(hashes, pairs, pictures, pictures, bits, kept_apart).run()
    for edit, (words, changed) in enumerate(zip(hashes.edited, hashes.unlike_fine, strict=True)):
        if len(changed) and bits >= EDIT_BITS:
            edited, pictures = Looking.of(words, changed), Looking.of(hashes.fine, everyone)
            HashJoin(hashes, pairs, edited, pictures, bits, kept_apart, edit).run()
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
