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
"""How many pairs are decided at once: 50 MB of 768 numbers."""


def unit_vectors(vectors: np.ndarray) -> Vectors:
    """Vectors as they are compared: float16 [n, dim].

    Float16 vectors of about unit length, such as stored embeddings, are taken as they are; others are normalised in
    float64 and rounded. What becomes of one is no matter of the others.

    Raises:
      CurationError: unless they are numbers, [n, dim].
    """
    if vectors.ndim != 2 or not np.issubdtype(vectors.dtype, np.number) or np.iscomplexobj(vectors):
        raise CurationError(f"vectors to compare are numbers [n, dim], not {vectors.dtype} {list(vectors.shape)}")
    wide = vectors.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1)
    halves = vectors.dtype == np.float16
    stays = halves & ((np.abs(lengths - 1) < 0.1) | ~(lengths > 0))
    if halves and stays.all():
        return np.asarray(vectors)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(stays[:, None], wide, wide / lengths[:, None]).astype(np.float16))


def comparable(vectors: Vectors) -> NDArray[np.bool_]:
    """Which vectors have a direction: bool [n]. Zeros and NaN are duplicates of nothing."""
    wide = vectors.astype(np.float32)
    return np.isfinite(wide).all(axis=1) & (np.abs(wide).max(axis=1, initial=0) > 0)


def ids_of(vectors: Vectors) -> NDArray[np.void]:
    """A name for each vector, which equal ones share: void16 [n], of the SHA-256 of its bytes."""
    content = np.ascontiguousarray(vectors + np.float16(0), "<f2").view(np.uint8)  # -0 is 0
    names = b"".join(hashlib.sha256(row).digest()[:ID_BYTES] for row in content)
    return np.frombuffer(names, f"V{ID_BYTES}")


def cosines(one: Vectors, other: Vectors) -> NDArray[np.float64]:
    """The cosines of pairs: float64 [m] of float16 [m, dim] twice; exactly 1 for equal vectors, never more.

    Sums are exact (see above), and a product, a root and a quotient are rounded as IEEE 754 says: the same everywhere.
    """
    a, b = one.astype(np.float64), other.astype(np.float64)
    dots, aa, bb = (np.einsum("ij,ij->i", x, y) for x, y in ((a, b), (a, a), (b, b)))
    return np.minimum(dots / np.sqrt(aa * bb), 1.0)


def cosines_of_pairs(
    vectors: Callable[[NDArray[np.int64]], Vectors], one: NDArray[np.int64], other: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The cosines of pairs that are given by their numbers.

    Args:
      vectors: gives the vectors of these numbers.
      one, other: int64 [m].
    """
    found = [cosines(vectors(one[part]), vectors(other[part])) for part in _parts(len(one))]
    return np.concatenate(found) if found else np.zeros(0)


def _parts(count: int) -> Iterator[slice]:
    return (slice(start, start + _AT_A_TIME) for start in range(0, count, _AT_A_TIME))


def directions(vectors: Vectors) -> NDArray[np.float32]:
    """The same, of unit length as nearly as float32 has it: float32 [n, dim]."""
    wide = vectors.astype(np.float32)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    return wide


def rounding_of(dim: int) -> float:
    """By how much a float32 product of two `directions` may be off, at most, however it was summed."""
    return max(1e-4, 2.0**-23 * (dim + 8))
