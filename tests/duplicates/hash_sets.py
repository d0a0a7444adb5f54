"""Hashes with planted near copies, and what brute force says of them."""

import numpy as np

from beam_curator.duplicates import hash_tables
from beam_curator.duplicates.hashes import Hashes


def planted(count: int, seed: int, clump: int = 0) -> Hashes:
    """Different hashes in no order: a fifth are near others, `clump` are near one."""
    random = np.random.default_rng(seed)
    fine = random.integers(0, 2**64, (count, 4), dtype=np.uint64)
    copies = random.permutation(count)[: count // 5]
    fine[copies] = fine[random.integers(0, count, len(copies))]
    flip(random, fine, copies, 45)
    clumped = random.permutation(count)[:clump]
    if clump:
        fine[clumped] = fine[clumped[0]]
        flip(random, fine, clumped, 24)
    hashes = Hashes(fine, np.zeros(count, np.int32), np.zeros((count, 48), np.uint8))
    _, first = np.unique(hashes.ids, return_index=True)
    return hashes.take(np.sort(first))


def flip(random: np.random.Generator, words: np.ndarray, rows: np.ndarray, bits: int) -> None:
    """Flips some of so many random bits of these rows: uint64 [n, words], in place."""
    for _ in range(bits):
        some = rows[random.random(len(rows)) < 0.6]
        place = random.integers(0, 64, len(some)).astype(np.uint64)
        words[some, random.integers(0, words.shape[1], len(some))] ^= np.uint64(1) << place


def bits_between(hashes: Hashes) -> np.ndarray:
    """In how many bits all pairs differ: int64 [n, n]."""
    ones = np.unpackbits(hashes.fine.view(np.uint8), axis=1).astype(np.float32)
    common = np.rint(ones @ ones.T).astype(np.int64)
    counts = np.diag(common)
    return counts[:, None] + counts[None, :] - 2 * common


def near(hashes: Hashes, bits: int) -> np.ndarray:
    """Which pairs are duplicates: bool [n, n], no one of itself."""
    found = (bits_between(hashes) <= bits) & ~np.eye(len(hashes), dtype=bool)
    one, other = np.nonzero(found)
    found[one, other] = hash_tables.meet((hashes.fine[one] ^ hashes.fine[other]).T)
    return found
