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
    hashes = plain(fine)
    _, first = np.unique(hashes.ids, return_index=True)
    return hashes.take(np.sort(first))


def plain(fine: np.ndarray, edited: np.ndarray | None = None) -> Hashes:
    """Hashes of grey pictures that no edit changes, or as they are said to be edited."""
    edited = np.stack([fine, fine]) if edited is None else edited
    return Hashes(fine, np.zeros(len(fine), np.int32), np.zeros((len(fine), 48), np.uint8), edited)


def flip(random: np.random.Generator, words: np.ndarray, rows: np.ndarray, bits: int) -> None:
    """Flips some of so many random bits of these rows: uint64 [n, words], in place."""
    for _ in range(bits):
        some = rows[random.random(len(rows)) < 0.6]
        place = random.integers(0, 64, len(some)).astype(np.uint64)
        words[some, random.integers(0, words.shape[1], len(some))] ^= np.uint64(1) << place


def edited(count: int, seed: int, clump: int = 0) -> Hashes:
    """Pictures that an edit changes, or two: a fifth are near others as edited, and `clump` are near one as edited."""
    random = np.random.default_rng([seed, 1])
    fine = planted(count, seed, clump).fine
    after = np.stack([fine, fine])
    for words in after:
        flip(random, words, np.flatnonzero(random.random(len(fine)) < 0.7), 60)
    for edit in (0, 1):
        copies = random.permutation(len(fine))[: len(fine) // 10]
        fine[copies] = after[edit, random.integers(0, len(fine), len(copies))]
        flip(random, fine, copies, 30)
    if clump:
        clumped = random.permutation(len(fine))[:clump]
        after[1, clumped] = fine[clumped[0]]
        flip(random, after[1], clumped, 16)
    return plain(fine, after)


def bits_between(hashes: Hashes) -> np.ndarray:
    """Counts the bits in which all pairs differ: int64 [n, n]."""
    return _differing(hashes.fine, hashes.fine)


def _differing(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    a, b = (np.unpackbits(words.view(np.uint8), axis=1).astype(np.float32) for words in (one, other))
    common = np.rint(a @ b.T).astype(np.int64)
    return a.sum(axis=1).astype(np.int64)[:, None] + b.sum(axis=1).astype(np.int64)[None, :] - 2 * common


def apart(hashes: Hashes, bits: int) -> np.ndarray:
    """Tells how far all pairs are apart, as far as that is `bits` or less, and else infinite: float64 [n, n]; of one of
    itself infinite."""
    found = np.full((len(hashes), len(hashes)), np.inf)
    for words, counts, tables in ((hashes.fine, 0, 70), (hashes.edited[0], 12, 28), (hashes.edited[1], 12, 28)):
        far = _differing(words, hashes.fine) + float(counts)
        one, other = np.nonzero(far <= bits)
        meet = hash_tables.meet((words[one] ^ hashes.fine[other]).T, tables)
        one, other = one[meet], other[meet]
        found[one, other] = np.minimum(found[one, other], far[one, other])
        found[other, one] = np.minimum(found[other, one], far[one, other])
    np.fill_diagonal(found, np.inf)
    return found


def near(hashes: Hashes, bits: int) -> np.ndarray:
    """Tells which pairs are duplicates: bool [n, n], no one of itself."""
    return apart(hashes, bits) <= bits
