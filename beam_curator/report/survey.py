"""What one pass over the ledger tells: outcomes, how each measure lies, and what kinds of images there are."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from beam_curator import rows
from beam_curator.report.columns import categories_in, numbers_in
from beam_curator.report.repeats import Buckets, repeated_columns
from beam_curator.report.spread import Spread
from beam_curator.report.view import View, encoded

FEW = 200
"""A column of more different texts than this is no category."""

SIDES = (64, 128, 224, 256, 384, 512, 768, 1024, 1536, 2048, 4096)
"""Where the shorter sides of images are told apart, in pixels."""

RATIOS = (1 / 3, 1 / 2, 2 / 3, 3 / 4, 0.95, 1.05, 4 / 3, 3 / 2, 2, 3)
"""Where width to height is told apart."""


@dataclasses.dataclass
class Category:
    """A column of few texts.

    Attributes:
      kept: how many kept samples have each.
      all: how many samples that did not fail have each.
      many: whether there are more than `FEW`, so that they are not told.
    """

    kept: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    all: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    many: bool = False

    def add(self, column: pa.ChunkedArray, kept: NDArray[np.bool_], usable: NDArray[np.bool_]) -> None:
        """Counts n rows."""
        if self.many:
            return
        column = column if pa.types.is_dictionary(column.type) else column.cast(pa.string())
        names, codes = encoded(column)
        if len(names) > 10 * FEW:
            self.many = True
            return
        for counter, which in ((self.kept, kept), (self.all, usable)):
            for name, count in zip(names, np.bincount(codes[which], minlength=len(names)).tolist(), strict=True):
                if count:
                    counter[name] += count
        self.many = len(self.all) > 10 * FEW


@dataclasses.dataclass
class Survey:
    """Attributes:
    outcomes: samples by (status, kind of reason).
    roles: the measures that there are, in the order in which they came.
    spreads: of the samples that did not fail.
    categories: columns of few texts.
    buckets: of columns of many texts, by which the commonest are found.
    shapes: int64 [2, len(SIDES) + 1, len(RATIOS) + 1]: samples by shorter side and by width to height, kept ones and
      all that did not fail.
    """

    outcomes: collections.Counter[tuple[str, str]] = dataclasses.field(default_factory=collections.Counter)
    roles: dict[str, str] = dataclasses.field(default_factory=dict)
    spreads: dict[str, Spread] = dataclasses.field(default_factory=dict)
    categories: dict[str, Category] = dataclasses.field(default_factory=dict)
    buckets: dict[str, Buckets] = dataclasses.field(default_factory=dict)
    shapes: NDArray[np.int64] = dataclasses.field(
        default_factory=lambda: np.zeros((2, len(SIDES) + 1, len(RATIOS) + 1), np.int64)
    )

    def add(self, view: View) -> None:
        """Counts some more rows."""
        self.outcomes.update(view.outcomes())
        usable = ~view.failed
        for name, role in numbers_in(view.table.schema).items():
            self.roles.setdefault(name, role)
            self.spreads.setdefault(name, Spread()).add(view.numbers(name)[usable])
        for name in categories_in(view.table.schema):
            self.categories.setdefault(name, Category()).add(view.table[name], view.kept, usable)
        for name in repeated_columns(view.table.schema):
            self.buckets.setdefault(name, Buckets()).add(view, name)
        self._add_shapes(view, usable)

    def _add_shapes(self, view: View, usable: NDArray[np.bool_]) -> None:
        width, height = view.numbers("width"), view.numbers("height")
        there = usable & (width > 0) & (height > 0)
        side = np.searchsorted(SIDES, np.minimum(width[there], height[there]), "right")
        ratio = np.searchsorted(RATIOS, width[there] / height[there], "right")
        np.add.at(self.shapes[1], (side, ratio), 1)
        kept = view.kept[there]
        np.add.at(self.shapes[0], (side[kept], ratio[kept]), 1)

    @property
    def counts(self) -> dict[str, int]:
        """Samples by status."""
        found = dict.fromkeys((rows.KEPT, rows.DROPPED, rows.FAILED), 0)
        for (status, _), count in self.outcomes.items():
            found[status] = found.get(status, 0) + count
        return found

    def reasons(self, status: str) -> dict[str, int]:
        """Samples of this status by kind of reason, most first."""
        found = [(why, count) for (of, why), count in self.outcomes.items() if of == status]
        return dict(sorted(found, key=lambda one: (-one[1], one[0])))


def survey(views: Iterable[View]) -> Survey:
    """The survey of all rows."""
    found = Survey()
    for view in views:
        found.add(view)
    return found
