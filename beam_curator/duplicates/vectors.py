"""Unit vectors of 16-bit floats, and their cosines, exactly.

A product of two float16 has 22 bits, and is a multiple of 2**-48; a sum of such products that stays below 32 fits in
the 53 bits of a float64. So the dot product of two such vectors, computed in float64, is exact, in whatever order it is
summed: all machines have the same cosine, and whoever asks gets the same answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from beam_curator.errors import CurationError

Vectors = NDArray[np.float16]

ID_BYTES = 16

_AT_A_TIME = 4096
"""The number of pairs that are decided, or of vectors that are named, at once: 50 MB of 768 numbers."""

_IN_A_BLOCK = 8
"""The number of parts of so many pairs that may be one product of matrices, which takes a pair some hundredths of the
time."""

_PRODUCTS_A_PAIR = 12
"""The number of products that a pair is worth."""


def unit_vectors(vectors: np.ndarray) -> Vectors:
    """Vectors as they are compared: float16 [n, dim].

    Float16 vectors of about unit length, such as stored embeddings, are taken as they are; others are normalised in
    float64 and rounded. What becomes of one is no matter of the others.

    Raises:
      CurationError: unless they are numbers, [n, dim].
    """
    if vectors.ndim != 2 or not np.issubdtype(vectors.dtype, np.number) or np.iscomplexobj(vectors):
        raise CurationError(f"vectors to compare are numbers [n, dim], not {vectors.dtype} {list(vectors.shape)}")
    wide = _in_reach(vectors.astype(np.float64))
    lengths = np.linalg.norm(wide, axis=1)
    halves = vectors.dtype == np.float16
    stays = halves & ((np.abs(lengths - 1) < 0.1) | ~(lengths > 0))
    if halves and stays.all():
        return np.asarray(vectors)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(stays[:, None], wide, wide / lengths[:, None]).astype(np.float16))


def _in_reach(wide: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same directions, of vectors so long or short that squares of numbers would be infinite, or nothing, at
    another length: divided by a power of two, which changes no bit of a number."""
    largest = np.abs(wide).max(axis=1, initial=0)
    far = np.flatnonzero(np.isfinite(largest) & (largest > 0) & ~((largest > 1e-140) & (largest < 1e140)))
    if len(far):
        wide[far] = np.ldexp(wide[far], -np.frexp(largest[far])[1][:, None])
    return wide


def comparable(vectors: Vectors) -> NDArray[np.bool_]:
    """Tells which vectors have a direction: bool [n]. Zeros and NaN are duplicates of nothing."""
    found = np.empty(len(vectors), bool)
    for some in _parts(len(vectors), _AT_A_TIME):
        largest = np.abs(vectors[some]).max(axis=1, initial=0)  # NaN of those that have one
        found[some] = np.isfinite(largest) & (largest > 0)
    return found


def ids_of(vectors: Vectors) -> NDArray[np.void]:
    """A name for each vector, which equal ones share: void16 [n], of the SHA-256 of its bytes."""
    names = np.empty(len(vectors), f"V{ID_BYTES}")
    for some in _parts(len(vectors), _AT_A_TIME):
        content = np.ascontiguousarray(vectors[some] + np.float16(0), "<f2").view(np.uint8)  # -0 is 0
        told = b"".join(hashlib.sha256(row).digest()[:ID_BYTES] for row in content)
        names[some] = np.frombuffer(told, names.dtype)
    return names


def cosines(one: Vectors, other: Vectors) -> NDArray[np.float64]:
    """The cosines of pairs: float64 [m] of float16 [m, dim] twice; exactly 1 for equal vectors, never more; NaN where
    one has no direction.

    Sums are exact (see above), and a product, a root and a quotient are rounded as IEEE 754 says: the same everywhere.
    """
    a, b = one.astype(np.float64), other.astype(np.float64)
    return _quotients(*(np.einsum("ij,ij->i", x, y) for x, y in ((a, b), (a, a), (b, b))))


def _quotients(dots: np.ndarray, aa: np.ndarray, bb: np.ndarray) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.minimum(dots / np.sqrt(aa * bb), 1.0))


def cosines_of_pairs(
    vectors: Callable[[NDArray[np.int64]], Vectors], one: NDArray[np.int64], other: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The cosines of pairs that are given by their numbers.

    Near copies of one picture have all the same neighbours: where there are few vectors and many pairs of them, it is
    one product of matrices. As its sums are exact as well, the cosines are the same.

    Args:
      vectors: gives the vectors of these numbers.
      one, other: int64 [m].
    """
    found = np.empty(len(one))
    order = np.argsort(other, kind="stable")
    for block in _parts(len(one), _IN_A_BLOCK * _AT_A_TIME):
        pairs = order[block]
        dense = _by_products(vectors, one[pairs], other[pairs])
        if dense is not None:
            found[pairs] = dense
            continue
        for part in _parts(len(pairs), _AT_A_TIME):
            some = pairs[part]
            found[some] = cosines(vectors(one[some]), vectors(other[some]))
    return found


def _by_products(
    vectors: Callable[[NDArray[np.int64]], Vectors], one: NDArray[np.int64], other: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """The cosines of pairs by the product of all that are among the first with all that are among the second; None
    where that would be more work than pair by pair."""
    rows, row = np.unique(one, return_inverse=True)
    columns, column = np.unique(other, return_inverse=True)
    if len(rows) * len(columns) > _PRODUCTS_A_PAIR * len(one):
        return None
    a, b = vectors(rows).astype(np.float64), vectors(columns).astype(np.float64)
    squares = (np.einsum("ij,ij->i", side, side) for side in (a, b))
    aa, bb = (found[at] for found, at in zip(squares, (row, column), strict=True))
    return _quotients((a @ b.T)[row, column], aa, bb)


def _parts(count: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, count, size))


def directions(vectors: Vectors) -> NDArray[np.float32]:
    """The same, of unit length as nearly as float32 has it: float32 [n, dim]."""
    wide = vectors.astype(np.float32)
    wide /= np.sqrt(np.einsum("ij,ij->i", wide, wide))[:, None]
    return wide


def rounding_of(dim: int) -> float:
    """Bounds the error of a float32 product of two `directions`, however it was summed."""
    return max(1e-4, 2.0**-23 * (dim + 8))
