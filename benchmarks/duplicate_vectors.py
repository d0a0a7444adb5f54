"""Vectors as CLIP gives them, with planted copies: in a cone, in clumps, of about 100 dimensions, in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

_AT_A_TIME = 50_000
_INNER = 96


def make_vectors(
    path: Path, count: int, dim: int, seed: int, copies: int = 0, exact: bool = True, cliques: int = 0
) -> np.memmap:
    """Makes unit vectors in a file: float16 [count, dim].

    Every fifth is a near copy of an earlier one, with a cosine of 0.90 to 0.999; one in fifty begins a chain of small
    steps; the last `copies` are of one picture, equal ones or nearly so. Of some pictures,
    `cliques`, there are 40 copies each, anywhere: more than are listed of one vector.

    Args:
      path: of the file.
      count, dim: how many, and of how many numbers.
      seed: of all of it.
      copies: how many are of one picture.
      exact: whether these are equal.
      cliques: how many pictures have 40 copies with a cosine of 0.97 to 0.999 to the picture.
    """
    vectors = np.memmap(path, np.float16, "w+", shape=(count, dim))
    random = np.random.default_rng(seed)
    axes = random.standard_normal((_INNER, dim)).astype(np.float32) / np.sqrt(dim)
    cone = random.standard_normal(dim).astype(np.float32) / np.sqrt(dim)
    clumps = random.standard_normal((max(1, count // 500), _INNER)).astype(np.float32)
    before: np.ndarray | None = None
    for start in range(0, count - copies, _AT_A_TIME):
        size = min(_AT_A_TIME, count - copies - start)
        inner = 0.8 * random.standard_normal((size, _INNER)).astype(np.float32)
        found = 9 * cone + (inner + clumps[random.integers(0, len(clumps), size)]) @ axes
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        _plant(found, found if before is None else before, random)
        vectors[start : start + size] = found
        before = found
    places = random.permutation(max(count - copies, 0))[: 41 * cliques].reshape(-1, 41)
    for picture, *them in places.tolist():
        vectors[them] = _near(vectors[[picture] * len(them)].astype(np.float32), random, 0.97, 0.999)
    if copies:
        one = vectors[:1].astype(np.float32)
        for start in range(count - copies, count, _AT_A_TIME):
            size = min(_AT_A_TIME, count - start)
            many = np.repeat(one, size, axis=0)
            vectors[start : start + size] = many if exact else _near(many, random, 0.98, 0.995)
    return vectors


def _plant(found: np.ndarray, earlier: np.ndarray, random: np.random.Generator) -> None:
    """Makes every fifth vector a near copy of one in `earlier`, and begins a chain of small steps at every 500th."""
    near = np.arange(0, len(found), 5)
    found[near] = _near(earlier[random.integers(0, len(earlier), len(near))], random, 0.90, 0.999)
    for first in np.arange(1, len(found) - 10, 500).tolist():
        for step in range(first, first + 9):
            found[step + 1] = _near(found[step : step + 1], random, 0.975, 0.985)[0]


def _near(vectors: np.ndarray, random: np.random.Generator, low: float, high: float) -> np.ndarray:
    """Unit vectors with a cosine in this range to each of these."""
    cosine = random.uniform(low, high, (len(vectors), 1)).astype(np.float32)
    noise = random.standard_normal(vectors.shape).astype(np.float32)
    noise -= (noise * vectors).sum(axis=1, keepdims=True) * vectors
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    found = cosine * vectors + np.sqrt(1 - cosine**2) * noise
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))
