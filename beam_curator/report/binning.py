"""Between which cuts a value lies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from beam_curator.report.columns import ASPECT_RATIO, numbers_of

NONE = -1
"""The place of a row without a value."""


def places_of(table: pa.Table, column: str, edges: Sequence[float]) -> NDArray[np.int64]:
    """How many cuts each of n rows has at or below its value: int64 [n], `NONE` where it has none.

    Of aspect ratios those below alone: what is equal to a cut passes it as a maximum, and is compared as the rule does,
    by multiplying.
    """
    values, cuts = numbers_of(table, column), np.asarray(edges, np.float64)
    is_ratio = column == ASPECT_RATIO
    places = _ratio_places(table, values, cuts) if is_ratio else np.searchsorted(cuts, values, "right")
    return np.where(np.isnan(values), NONE, places)


def _ratio_places(table: pa.Table, ratios: NDArray[np.float64], cuts: NDArray[np.float64]) -> NDArray[np.int64]:
    if not len(cuts) or not {"width", "height"} <= set(table.schema.names):
        return np.zeros(len(table), np.int64)
    sides = [table[name].to_numpy().astype(np.float64) for name in ("width", "height")]
    long, short = np.maximum(*sides), np.minimum(*sides)
    places = np.searchsorted(cuts, ratios, "left")
    # The quotient is rounded: the rule's own comparison decides at the cuts beside it.
    here = cuts[np.minimum(places, len(cuts) - 1)]
    before = cuts[np.maximum(places - 1, 0)]
    up = (places < len(cuts)) & (long > here * short)
    down = (places > 0) & (long <= before * short)
    return places + up - down
