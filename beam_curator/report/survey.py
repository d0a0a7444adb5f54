"""Makes the first pass over the ledger, which tells outcomes, how each measure lies, and what kinds of images there
are."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from beam_curator import rows
from beam_curator.errors import JobError
from beam_curator.report.accumulators import Accumulator
from beam_curator.report.binning import places_of
from beam_curator.report.columns import ASPECT_RATIO, behind, categories_in, numbers_in
from beam_curator.report.copies import KeeperCounts
from beam_curator.report.passes import Pass
from beam_curator.report.repeats import Buckets, repeated_columns
from beam_curator.report.spread import Spread
from beam_curator.report.thresholds import Threshold
from beam_curator.report.view import View, encoded

FEW = 200
"""So many texts of a category are told, the commonest."""

SIDES = (64, 128, 224, 256, 384, 512, 768, 1024, 1536, 2048, 4096)
"""The cuts between which the shorter sides of images are told apart, in pixels."""

RATIOS = (1 / 3, 1 / 2, 2 / 3, 3 / 4, 0.95, 1.05, 4 / 3, 3 / 2, 2, 3)
"""The cuts between which width to height is told apart."""


MANY = 10 * FEW
"""A column of more different texts than this is no category, and counted no further."""


@dataclasses.dataclass
class Category(Accumulator):
    """A column of few texts.

    Attributes:
      kept: how many kept samples have each.
      all: how many samples that did not fail have each.
      many: whether there are more than `MANY`, so that they are not counted.
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
        counts = np.bincount(codes[usable], minlength=len(names))
        if np.count_nonzero(counts) > MANY + 1:  # a text may stand twice among the names: "" and none
            self._leave()
            return
        for counter, found in ((self.kept, np.bincount(codes[kept], minlength=len(names))), (self.all, counts)):
            for name, count in zip(names, found.tolist(), strict=True):
                if count:
                    counter[name] += count
        self._bound()

    def merge(self, other: Category) -> None:
        """Adds what another one has counted."""
        self.many = self.many or other.many
        self.kept.update(other.kept)
        self.all.update(other.all)
        self._bound()

    def _bound(self) -> None:
        if self.many or len(self.all) > MANY:
            self._leave()

    def _leave(self) -> None:
        self.many, self.kept, self.all = True, collections.Counter(), collections.Counter()


@dataclasses.dataclass
class Survey(Pass):
    """The first pass.

    Attributes:
      thresholds: those of the job's rules.
      wrong: those of them that the ledger does not follow: another rule has such a name.
      outcomes: samples by (status, kind of reason).
      roles: the role of each measure that there is, after the file of the ledger that had it first, and its place
        there.
      categories: columns of few texts.
      texts: the places of these and of `buckets`, as in `roles`.
      spreads: of each measure, of the samples that did not fail.
      buckets: of columns of many texts, by which the commonest are found.
      shapes: int64 [2, len(SIDES) + 1, len(RATIOS) + 1]: samples by shorter side and by width to height, kept ones and
        all that did not fail.
      keepers: what stays for duplicates.
    """

    thresholds: Sequence[Threshold] = ()
    wrong: set[Threshold] = dataclasses.field(default_factory=set)
    outcomes: collections.Counter[tuple[str, str]] = dataclasses.field(default_factory=collections.Counter)
    roles: dict[str, tuple[int, int, str]] = dataclasses.field(default_factory=dict)
    texts: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    spreads: dict[str, Spread] = dataclasses.field(default_factory=dict)
    categories: dict[str, Category] = dataclasses.field(default_factory=dict)
    buckets: dict[str, Buckets] = dataclasses.field(default_factory=dict)
    shapes: NDArray[np.int64] = dataclasses.field(
        default_factory=lambda: np.zeros((2, len(SIDES) + 1, len(RATIOS) + 1), np.int64)
    )
    keepers: KeeperCounts = dataclasses.field(default_factory=KeeperCounts)

    def columns(self, schema: pa.Schema) -> list[str]:
        measured = [column for name in numbers_in(schema) for column in behind(name)]
        return ["status", "reason", *measured, *categories_in(schema), *repeated_columns(schema), "duplicate_of"]

    def add(self, view: View) -> None:
        usable = ~view.failed
        self.outcomes.update(view.outcomes)
        numbers, categories = numbers_in(view.table.schema), categories_in(view.table.schema)
        texts = [*categories, *repeated_columns(view.table.schema)]
        _come(self.roles, {name: (view.file, place, numbers[name]) for place, name in enumerate(numbers)})
        _come(self.texts, {name: (view.file, place) for place, name in enumerate(texts)})
        for name in numbers:
            numbers_there = view.numbers(name) if usable.all() else view.numbers(name)[usable]
            self.spreads.setdefault(name, Spread()).add(numbers_there)
        for name in categories:
            self.categories.setdefault(name, Category()).add(view.table[name], view.kept, usable)
        for name in texts[len(categories) :]:
            self.buckets.setdefault(name, Buckets()).add(view, name)
        self._add_shapes(view, usable)
        self._check(view)
        self.keepers.add(view)

    def _add_shapes(self, view: View, usable: NDArray[np.bool_]) -> None:
        width, height = view.numbers("width"), view.numbers("height")
        there = usable & (width > 0) & (height > 0)
        width, height = width[there], height[there]
        side, ratio = places_of(np.minimum(width, height), SIDES), places_of(width / height, RATIOS)
        cells = (view.kept[there] * (len(SIDES) + 1) + side) * (len(RATIOS) + 1) + ratio
        dropped, kept = np.bincount(cells, minlength=self.shapes.size).reshape(self.shapes.shape)
        self.shapes = self.shapes + np.stack([kept, kept + dropped])

    def _check(self, view: View) -> None:
        for one in self.thresholds:
            if one in self.wrong or one.column == ASPECT_RATIO:
                continue
            passes = one.passes(view.numbers(one.column))
            if (view.kept & ~passes).any() or (view.has_reason(rows.DROPPED, one.rule) & passes).any():
                self.wrong.add(one)

    def merge(self, other: Survey) -> None:
        self.wrong |= other.wrong
        self.outcomes.update(other.outcomes)
        _come(self.roles, other.roles)
        _come(self.texts, other.texts)
        _merge(self.spreads, other.spreads)
        _merge(self.categories, other.categories)
        _merge(self.buckets, other.buckets)
        self.shapes = self.shapes + other.shapes
        self.keepers.merge(other.keepers)

    def role_of(self, measure: str) -> str:
        """The role of a measure."""
        return self.roles[measure][-1]

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

    def check(self, manifest: Mapping[str, Any]) -> None:
        """Raises JobError when the ledger is another than the manifest tells of."""
        told = {status: (manifest.get("counts") or {}).get(status) for status in self.counts}
        if told != self.counts:
            raise JobError(
                f"the ledger has {_as_text(self.counts)}, manifest.json says {_as_text(told)}: the job did not reach "
                "its end, or files of the ledger are gone or damaged: run it again"
            )


_Come = TypeVar("_Come", bound=tuple[Any, ...])
_Counted = TypeVar("_Counted", bound=Any)


def _come(first: dict[str, _Come], more: Mapping[str, _Come]) -> None:
    """Merges the places where columns came first, in whatever order they are told."""
    for name, place in more.items():
        first[name] = min(place, first.get(name, place))


def _merge(mine: dict[str, _Counted], others: Mapping[str, _Counted]) -> None:
    for name, other in others.items():
        if name in mine:
            mine[name].merge(other)
        else:
            mine[name] = other


def _as_text(counts: Mapping[str, Any]) -> str:
    return ", ".join(f"{count:,} {status}" if count is not None else f"no {status}" for status, count in counts.items())
