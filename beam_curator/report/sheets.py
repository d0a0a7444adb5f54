"""The contact sheets: around each threshold, the ends of each score, at random, and of each reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
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


@dataclasses.dataclass(frozen=True)
class _Pick:
    """The choice of a sheet: which samples it is about, and which of them come first.

    Attributes:
      status: theirs; None for all that did not fail.
      why: the kind of their reason; None for any.
      column: they come by its values, the lowest first; "" for ranks that mean nothing.
      highest_first: the highest ones come first instead.
      near: those next to this value come first instead.
    """

    status: str | None = None
    why: str | None = None
    column: str = ""
    highest_first: bool = False
    near: float | None = None

    def is_about(self, status: str, why: str) -> bool:
        """Whether it is about samples with this outcome."""
        return (status == self.status if self.status else status != rows.FAILED) and self.why in (None, why)

    def ranks(self, view: View) -> NDArray[np.float64]:
        """Ranks each row, float64 [n]; none is shown that has no finite rank."""
        if not self.column:
            return view.random_ranks
        values = view.numbers(self.column)
        if self.near is not None:
            return np.abs(values - self.near)
        return -values if self.highest_first else values

    def least_rank(self, view: View) -> float:
        """A rank that none of the rows comes before."""
        if not self.column:
            return float(view.random_ranks.min(initial=np.inf))
        if self.near is not None:
            return 0.0
        least, greatest = view.ends(self.column)
        return -greatest if self.highest_first else least


class Sheets(Accumulator):
    """All sheets of a report, filled by a pass over the ledger."""

    def __init__(
        self, thresholds: Sequence[Threshold], scores: Sequence[str], reasons: Mapping[str, Mapping[str, int]]
    ) -> None:
        """Sheets for these thresholds, score columns, and kinds of reasons by status, the commonest first."""
        self._picks: list[tuple[Sheet, _Pick]] = []
        for one in thresholds:
            self._add(
                THRESHOLDS,
                f"just kept: {one.in_words}",
                one.column,
                SHOWN,
                _Pick(rows.KEPT, None, one.column, near=one.value),
            )
            self._add(
                THRESHOLDS,
                f"just dropped: {one.rule}",
                one.column,
                SHOWN,
                _Pick(rows.DROPPED, one.rule, one.column, near=one.value),
            )
        for column in list(scores)[:MOST_SCORES]:
            self._add(SCORES, f"highest {column}", column, SHOWN, _Pick(column=column, highest_first=True))
            self._add(SCORES, f"lowest {column}", column, SHOWN, _Pick(column=column))
        self._add(RANDOM, "kept, at random", "", SHOWN, _Pick(rows.KEPT))
        self._add(RANDOM, "dropped, at random", "", SHOWN, _Pick(rows.DROPPED))
        dropped = [why for why in reasons.get(rows.DROPPED, {}) if not why.startswith(DUPLICATE)]
        for why in dropped[:MOST_RULES]:
            self._add(RULES, why, "", FEW_SHOWN, _Pick(rows.DROPPED, why))
        for why in list(reasons.get(rows.FAILED, {}))[:MOST_FAILURES]:
            self._add(FAILURES, why, "", FEW_SHOWN, _Pick(rows.FAILED, why))

    def _add(self, group: str, title: str, column: str, most: int, pick: _Pick) -> None:
        self._picks.append((Sheet(group, title, column, First(most)), pick))

    def add(self, view: View) -> None:
        """Looks at some more rows."""
        for sheet, pick in self._picks:
            last = sheet.first.last  # few rows come before it, once the sheet is full
            if not any(pick.is_about(*outcome) for outcome in view.outcomes) or not pick.least_rank(view) <= last:
                continue
            ranks = pick.ranks(view)
            there = np.flatnonzero(ranks <= last)
            there = there[view.by_outcome(pick.is_about, np.bool_, there) & np.isfinite(ranks[there])]
            if len(there):
                sheet.first.add(view, there, ranks[there])

    def merge(self, other: Sheets) -> None:
        """Adds what another one of the same sheets has found."""
        for (mine, _), (its, _) in zip(self._picks, other._picks, strict=True):
            mine.first.merge(its.first)

    @property
    def places(self) -> list[Place]:
        """The places of all samples that are shown."""
        return [place for sheet, _ in self._picks for place in sheet.first.places]

    def as_json(self, number_of: Mapping[Place, int]) -> list[dict[str, Any]]:
        """Makes the sheets as JSON has them, with the number of each sample among those that are told; no empty
        sheet."""
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
