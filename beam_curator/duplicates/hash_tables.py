"""Tables in which near hashes meet, so that not all have to be compared.

A table is 18 of the 256 bits of a hash, and two hashes *meet* in it if they agree in all of these. There are 70 tables,
14 from each of 5 orders of all bits, so that those of one order have no bit in common: two hashes that differ in 13
bits at most meet whatever these are. Of hashes that differ in 28 random bits less than 1 of 10,000 pairs meets in no
table, of 32 one of 800; edits change the bits of fine detail rather than others, and do less.

Hashes of edited pictures, which have to be nearer (`hashes`), meet in the first 28 tables or not at all: of those that
differ in 20 random bits one pair of 1,250 does not.

So that pairs are a function of two hashes alone, and not of what else is compared, meeting is part of what a duplicate
is (`hashes`).
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

_ORDERS = 5
_BITS_OF_TABLE = 18
_BITS = 256

_PAIRS_AT_A_TIME = 1 << 14
_TABLES_AT_A_TIME = 8

Words = NDArray[np.uint64]
Indices = NDArray[np.int64]


def _masks() -> Words:
    """The bits of each table: uint64 [tables, 4]. The most significant bit of the first word is bit 0."""
    masks = []
    for order in range(_ORDERS):
        bits = sorted(range(_BITS), key=lambda bit: hashlib.sha256(f"{order} {bit}".encode()).digest())
        for start in range(0, _BITS - _BITS_OF_TABLE + 1, _BITS_OF_TABLE):
            words = [0, 0, 0, 0]
            for bit in bits[start : start + _BITS_OF_TABLE]:
                words[bit // 64] |= 1 << (63 - bit % 64)
            masks.append(words)
    return np.array(masks, np.uint64)


_MASKS = _masks()
_FACTORS = np.array([0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93], np.uint64)

TABLES = len(_MASKS)
"""The number of tables."""

TABLES_OF_EDITED = 28
"""The number of tables, the first ones, in which a picture's hash may meet that of another as an edit leaves it."""


def keys(hashes: Words, table: int) -> Words:
    """Numbers below 2**31 that are equal for hashes which meet in a table, and hardly ever for others: uint64 [n].

    Args:
      hashes: uint64 [4, n].
      table: which one.
    """
    key = np.zeros(hashes.shape[1], np.uint64)
    for words, mask, factor in zip(hashes, _MASKS[table], _FACTORS, strict=True):
        key += (words & mask) * factor
    return key >> np.uint64(33)


def first_here(differing: Words, table: int) -> Indices:
    """Finds the pairs that meet in this table, and in none before it: indices.

    Args:
      differing: uint64 [4, m], the bits in which they differ.
      table: which one.
    """
    here = np.flatnonzero(_in(differing, table))
    return here[~meet(differing[:, here], table)]


def meet(differing: Words, tables: int = TABLES) -> NDArray[np.bool_]:
    """Tells which pairs meet in one of the first tables: bool [m] of uint64 [4, m], the bits in which they differ."""
    found = np.zeros(differing.shape[1], bool)
    for start in range(0, len(found), _PAIRS_AT_A_TIME):
        part = differing[:, start : start + _PAIRS_AT_A_TIME]
        left = np.arange(part.shape[1])
        for first in range(0, tables, _TABLES_AT_A_TIME):
            here = np.zeros(len(left), bool)
            for table in range(first, min(first + _TABLES_AT_A_TIME, tables)):
                here |= _in(part, table)
            found[start + left[here]] = True
            left, part = left[~here], part[:, ~here]
            if not len(left):
                break
    return found


def _in(differing: Words, table: int) -> NDArray[np.bool_]:
    apart = differing[0] & _MASKS[table, 0]
    for words, mask in zip(differing[1:], _MASKS[table, 1:], strict=True):
        apart |= words & mask
    return np.asarray(apart == 0)
