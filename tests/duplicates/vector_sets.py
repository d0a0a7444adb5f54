"""Vectors with planted duplicates, and what brute force says of them."""

import itertools

import numpy as np

from beam_curator.duplicates.vectors import unit_vectors


def planted(count: int, dim: int, seed: int) -> np.ndarray:
    """Unit vectors in clumps, with near copies, chains and one clique: float16 [count, dim]."""
    random = np.random.default_rng(seed)
    clumps = random.standard_normal((max(1, count // 100), dim))
    found = 0.6 * random.standard_normal((count, dim)) + clumps[random.integers(0, len(clumps), count)]
    for at in random.permutation(count)[: count // 4]:
        found[at] = found[random.integers(0, count)] * (1 + 0.1 * random.random())
        found[at] += random.standard_normal(dim) * random.uniform(0, 0.4)
    chain = random.permutation(count)[: count // 20]
    for before, after in itertools.pairwise(chain):
        found[after] = found[before] + random.standard_normal(dim) * 0.2
    clique = random.permutation(count)[: count // 10]
    found[clique] = found[clique[0]] + random.standard_normal((len(clique), dim)) * 0.05
    found[clique[:20]] = found[clique[0]]
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float16)


def cosines(vectors: np.ndarray) -> np.ndarray:
    """All cosines, as the definition has them: float64 [n, n]."""
    wide = vectors.astype(np.float64)
    squares = np.einsum("ij,ij->i", wide, wide)
    with np.errstate(invalid="ignore"):
        return np.minimum(wide @ wide.T / np.sqrt(squares[:, None] * squares[None, :]), 1)


def kept_by_brute_force(near: np.ndarray, order: np.ndarray, competes: np.ndarray) -> dict[int, int]:
    """Finds which rows go, and for which, by the definition itself: bool [n, n], and rows from the best to the last."""
    kept: list[int] = []
    gone = {}
    for row in order[competes[order]].tolist():
        better = [one for one in kept if near[row, one]]
        if better:
            gone[row] = better[0]
        else:
            kept.append(row)
    return gone


def clumps(count: int, each: int, copies: int = 0) -> np.ndarray:
    """Vectors in clumps, far from one another, and near copies of the first: float16 [n, 64], shuffled."""
    random = np.random.default_rng(0)
    middles = random.standard_normal((count, 64))
    found = np.repeat(middles, each, axis=0) + 0.5 * random.standard_normal((count * each, 64))
    near = found[0] + random.standard_normal((copies, 64)) * 0.11
    return unit_vectors(random.permutation(np.concatenate([found, near])))
