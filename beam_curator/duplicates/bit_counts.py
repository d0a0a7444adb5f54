"""Counts the bits of words that are set."""

import numpy as np
from numpy.typing import NDArray


def ones_of_halves(words: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """The same as `ones_of`, without NumPy 2."""
    halves = np.ascontiguousarray(words).view(np.uint16).reshape(*words.shape, 4)
    return _ONES_OF_16[halves].sum(axis=-1, dtype=np.uint8)


_ONES_OF_16 = np.unpackbits(np.arange(1 << 16, dtype=np.uint16).view(np.uint8)).reshape(-1, 16).sum(1, dtype=np.uint8)

ones_of = getattr(np, "bitwise_count", ones_of_halves)
"""Counts the bits that are set in each word: uint8 of uint64, in the same shape."""
