"""The contact sheets: around each threshold, the ends of each score, at random, and of each reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beam_curator import rows
from beam_curator.report.accumulators import Accumulator
from beam_curator.report.choosing import FAILURES, RANDOM, RULES, SCORES, THRESHOLDS, First, Place, Sheet
from beam_curator.report.flow import DUPLICATE
from beam_curator.report.thresholds import Threshold
from beam_curator.report.view import View

SHOWN = 12
FEW_SHOWN = 6
"""Samples in a sheet, and in one of a reason."""

MOST_SCORES, MOST_RULES, MOST_FAILURES = 6, 12, 8
"""So many sheets of each kind there are at most."""

_Picked = tuple[NDArray[np.bool_], NDArray[np.float64] | None]
"""Which rows a sheet is about, bool [n], as far as they have a finite rank, float64 [n]; None for ranks that mean
nothing."""

_Pick = Callable[[View], _Picked]


class Sheets(Accumulator):
    """All sheets of a report, filled by a pass over the ledger."""

    def __init__(
        self, thresholds: Sequence[Threshold], scores: Sequence[str], reasons: Mapping[str, Mapping[str, int]]
    ) -> None:
        """Sheets for these thresholds, score columns, and kinds of reasons by status, the commonest first."""
        self._picks: list[tuple[Sheet, _Pick]] = []
        for one in thresholds:
            self._add(THRESHOLDS, f"just kept: {one.told}", one.column, SHOWN, _JustKept(one))
            self._add(THRESHOLDS, f"just dropped: {one.rule}", one.column, SHOWN, _JustDropped(one))
        for column in list(scores)[:MOST_SCORES]:
            self._add(SCORES, f"highest {column}", column, SHOWN, _End(column, -1))
            self._add(SCORES, f"lowest {column}", column, SHOWN, _End(column, 1))
        self._add(RANDOM, "kept, at random", "", SHOWN, _Kept())
        self._add(RANDOM, "dropped, at random", "", SHOWN, _Dropped())
        dropped = [why for why in reasons.get(rows.DROPPED, {}) if not why.startswith(DUPLICATE)]
        for why in dropped[:MOST_RULES]:
            self._add(RULES, why, "", FEW_SHOWN, _ForReason(rows.DROPPED, why))
        for why in list(reasons.get(rows.FAILED, {}))[:MOST_FAILURES]:
            self._add(FAILURES, why, "", FEW_SHOWN, _ForReason(rows.FAILED, why))

    def _add(self, group: str, title: str, column: str, most: int, pick: _Pick) -> None:
        self._picks.append((Sheet(group, title, column, First(most)), pick))

    def add(self, view: View) -> None:
        """Looks at some more rows."""
        for sheet, pick in self._picks:
            which, ranks = pick(view)
            ranks = view.random_ranks if ranks is None else ranks
            there = np.flatnonzero(ranks <= sheet.first.last)  # few, once the sheet is full
            there = there[which[there] & np.isfinite(ranks[there])]
            if len(there):
                sheet.first.add(view, there, ranks[there])

    def merge(self, other: Sheets) -> None:
        """Adds what another one of the same sheets has found."""
        for (mine, _), (its, _) in zip(self._picks, other._picks, strict=True):
            mine.first.merge(its.first)

    @property
    def places(self) -> list[Place]:
        """Where all samples stand that are shown."""
        return [place for sheet, _ in self._picks for place in sheet.first.places]

    def told(self, number_of: Mapping[Place, int]) -> list[dict[str, Any]]:
        """As JSON has them, with the number of each sample among those that are told; none that is empty."""
        return [
            {
                "group": sheet.group,
                "title": sheet.title,
                "column": sheet.column,
                "samples": [number_of[place] for place in sheet.first.places],
            }
            for sheet, _ in self._picks
            if sheet.first.places
        ]


@dataclasses.dataclass(frozen=True)
class _Kept:
    def __call__(self, view: View) -> _Picked:
        return view.kept, None


@dataclasses.dataclass(frozen=True)
class _Dropped:
    def __call__(self, view: View) -> _Picked:
        return ~view.kept & ~view.failed, None


@dataclasses.dataclass(frozen=True)
class _JustKept:
    threshold: Threshold

    def __call__(self, view: View) -> _Picked:
        return _near(view, self.threshold, view.kept)


@dataclasses.dataclass(frozen=True)
class _JustDropped:
    threshold: Threshold

    def __call__(self, view: View) -> _Picked:
        return _near(view, self.threshold, view.has_reason(rows.DROPPED, self.threshold.rule))


def _near(view: View, one: Threshold, which: NDArray[np.bool_]) -> _Picked:
    return which, np.abs(view.numbers(one.column) - one.value)


@dataclasses.dataclass(frozen=True)
class _End:
    column: str
    sign: int

    def __call__(self, view: View) -> _Picked:
        values = view.numbers(self.column)
        return ~view.failed, values if self.sign > 0 else -values


@dataclasses.dataclass(frozen=True)
class _ForReason:
    status: str
    why: str

    def __call__(self, view: View) -> _Picked:
        return view.has_reason(self.status, self.why), None
