"""Orders samples totally, the best first: of two duplicates the better one stays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from beam_curator.defaults import BY_AESTHETIC, BY_PLACE, BY_RESOLUTION, BY_SIMILARITY

SortKeys = tuple[tuple[str, Literal["ascending", "descending"]], ...]

_SIZE: SortKeys = (("area", "descending"), ("bytes", "descending"))
_END: SortKeys = (("sample_id", "ascending"),)
_AESTHETIC: SortKeys = (("aesthetic", "descending"),)

SORT_KEYS: Mapping[str, SortKeys] = {
    BY_RESOLUTION: (*_SIZE, *_AESTHETIC, *_END),
    BY_AESTHETIC: (*_AESTHETIC, *_SIZE, *_END),
    BY_SIMILARITY: (("similarity", "descending"), *_SIZE, *_AESTHETIC, *_END),
    BY_PLACE: (("place", "ascending"), *_END),
}
"""The values that are compared, by what is kept: the larger picture in pixels, then in bytes; the higher score; the
first in the order of the input. Rows without a value come last; a column that no row has decides nothing. The last is
the smaller `sample_id`, so that no two rows are equal."""

NEEDS = {BY_AESTHETIC: "aesthetic", BY_SIMILARITY: "similarity"}
"""The score that an order cannot do without."""


def best_first(table: pa.Table, keep: str) -> NDArray[np.int64]:
    """The rows from the best to the last: int64 [n].

    Args:
      table: n rows with the columns of `SORT_KEYS`, as far as they are known, and `set`: an integer; rows of lower
        sets come before those of higher ones, whatever else they have.
      keep: one of `defaults.KEEP_ORDERS`.
    """
    known = [(name, order) for name, order in SORT_KEYS[keep] if name in table.schema.names]
    keys = [("set", "ascending"), *known]
    return np.asarray(pc.sort_indices(table, sort_keys=keys).to_numpy().view(np.int64))
