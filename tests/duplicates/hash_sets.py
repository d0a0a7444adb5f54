"""Hashes with planted near copies, and what brute force says of them."""

import numpy as np

from beam_curator.duplicates.perceptual import COARSE_BITS, Hashes


def planted(count: int, seed: int, clump: int = 0) -> Hashes:
    """Different hashes in no order: a fifth are near others, `clump` are near one."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 2**64, count, dtype=np.uint64)
    fine = random.integers(0, 2**64, (count, 4), dtype=np.uint64)
    copies = random.permutation(count)[: count // 5]
    sources = random.integers(0, count, len(copies))
    coarse[copies], fine[copies] = coarse[sources], fine[sources]
    flip(random, coarse[:, None], copies, 5)
    flip(random, fine, copies, 45)
    clumped = random.permutation(count)[:clump]
    if clump:
        coarse[clumped], fine[clumped] = coarse[clumped[0]], fine[clumped[0]]
        flip(random, coarse[:, None], clumped, 3)
        flip(random, fine, clumped, 24)
    nothing = np.zeros(count, np.int32), np.zeros((count, 48), np.uint8)
    hashes = Hashes(coarse, fine, *nothing)
    _, first = np.unique(hashes.ids, return_index=True)
    return hashes.take(np.sort(first))


def flip(random: np.random.Generator, words: np.ndarray, rows: np.ndarray, bits: int) -> None:
    """Flips some of so many random bits of these rows: uint64 [n, words], in place."""
    for _ in range(bits):
        some = rows[random.random(len(rows)) < 0.6]
        place = random.integers(0, 64, len(some)).astype(np.uint64)
        words[some, random.integers(0, words.shape[1], len(some))] ^= np.uint64(1) << place


def bits_between(hashes: Hashes) -> tuple[np.ndarray, np.ndarray]:
    """In how many bits all pairs differ, coarsely and finely: int64 [n, n] twice."""
    words = np.column_stack([hashes.coarse, hashes.fine])
    ones = np.unpackbits(words.view(np.uint8), axis=1).astype(np.float32)
    return _differing(ones[:, :64]), _differing(ones[:, 64:])


def _differing(ones: np.ndarray) -> np.ndarray:
    common = np.rint(ones @ ones.T).astype(np.int64)
    counts = np.diag(common)
    return counts[:, None] + counts[None, :] - 2 * common


def near(hashes: Hashes, bits: int) -> np.ndarray:
    """Which pairs are duplicates: bool [n, n], no one of itself."""
    coarse, fine = bits_between(hashes)
    return (coarse <= COARSE_BITS) & (fine <= bits) & ~np.eye(len(hashes), dtype=bool)
