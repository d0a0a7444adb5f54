"""The contact sheets: around each threshold, the ends of each score, at random, and of each reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beam_curator import rows
from beam_curator.report.choosing import FAILURES, RANDOM, RULES, SCORES, THRESHOLDS, First, Place, Sheet
from beam_curator.report.flow import DUPLICATE
from beam_curator.report.thresholds import Threshold
from beam_curator.report.view import View

SHOWN = 12
FEW_SHOWN = 6
"""Samples in a sheet, and in one of a reason."""

MOST_SCORES, MOST_RULES, MOST_FAILURES = 6, 12, 8
"""So many sheets of each kind there are at most."""

_Pick = Callable[[View], tuple[NDArray[np.bool_], NDArray[np.float64] | None]]
"""Which rows a sheet is about, bool [n], and the rank of each, float64 [n]; None for ranks that mean nothing."""


class Sheets:
    """All sheets of a report, filled by a pass over the ledger."""

    def __init__(
        self, thresholds: Sequence[Threshold], scores: Sequence[str], reasons: Mapping[str, Mapping[str, int]]
    ) -> None:
        """Sheets for these thresholds, score columns, and kinds of reasons by status, the commonest first."""
        self._picks: list[tuple[Sheet, _Pick]] = []
        for one in thresholds:
            self._add(THRESHOLDS, f"just kept: {one.told}", one.column, SHOWN, _just_kept(one))
            self._add(THRESHOLDS, f"just dropped: {one.rule}", one.column, SHOWN, _just_dropped(one))
        for column in list(scores)[:MOST_SCORES]:
            self._add(SCORES, f"highest {column}", column, SHOWN, _end(column, -1))
            self._add(SCORES, f"lowest {column}", column, SHOWN, _end(column, 1))
        self._add(RANDOM, "kept, at random", "", SHOWN, lambda view: (view.kept, None))
        self._add(RANDOM, "dropped, at random", "", SHOWN, lambda view: (~view.kept & ~view.failed, None))
        dropped = [why for why in reasons.get(rows.DROPPED, {}) if not why.startswith(DUPLICATE)]
        for why in dropped[:MOST_RULES]:
            self._add(RULES, why, "", FEW_SHOWN, _for_reason(rows.DROPPED, why))
        for why in list(reasons.get(rows.FAILED, {}))[:MOST_FAILURES]:
            self._add(FAILURES, why, "", FEW_SHOWN, _for_reason(rows.FAILED, why))

    def _add(self, group: str, title: str, column: str, most: int, pick: _Pick) -> None:
        self._picks.append((Sheet(group, title, column, First(most)), pick))

    def add(self, view: View) -> None:
        """Looks at some more rows."""
        for sheet, pick in self._picks:
            which, ranks = pick(view)
            ranks = view.random_ranks if ranks is None else ranks
            there = np.flatnonzero(which & (ranks <= sheet.first.last))
            if len(there):
                sheet.first.add(view, there, ranks[there])

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


def _just_kept(one: Threshold) -> _Pick:
    return lambda view: _near(view, one, view.kept)


def _just_dropped(one: Threshold) -> _Pick:
    return lambda view: _near(view, one, view.has_reason(rows.DROPPED, one.rule))


def _near(view: View, one: Threshold, which: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    distance = np.abs(view.numbers(one.column) - one.value)
    return which & np.isfinite(distance), distance


def _end(column: str, sign: int) -> _Pick:
    def pick(view: View) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        values = sign * view.numbers(column)
        return ~view.failed & np.isfinite(values), values

    return pick


def _for_reason(status: str, why: str) -> _Pick:
    return lambda view: (view.has_reason(status, why), None)
