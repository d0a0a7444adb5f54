"""The geometry of histograms: where bars, lines and labels stand, in the units of an SVG."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH, HEIGHT = 520, 210
LEFT, RIGHT, TOP, BOTTOM = 10, 34, 14, 30
"""The room around the plot: for labels of the share, of the values, and above."""

TICKS, ENOUGH = 7, 4
"""So many labels there are at most, and so many are enough of one roundness."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """The scale of an axis.

    Attributes:
      low, high: the values at its ends.
      growing: whether equal steps are equal ratios.
      inset: the room at both ends for what lies beyond.
    """

    low: float
    high: float
    growing: bool
    inset: float

    @classmethod
    def of(cls, edges: Sequence[float]) -> Scale:
        """The scale from the first to the last cut."""
        low, high = edges[0], edges[-1]
        steps = [after - before for before, after in itertools.pairwise(edges)]
        growing = low > 0 and len(edges) > 4 and steps[-1] > 8 * min(one for one in steps if one > 0)
        inset = (WIDTH - LEFT - RIGHT) / (len(edges) + 1)
        return cls(low, high, growing, inset)

    def x(self, value: float) -> float:
        """Gives the place of a value on the axis."""
        if self.high == self.low:
            share = 0.5
        elif self.growing:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(LEFT + self.inset + share * (WIDTH - LEFT - RIGHT - 2 * self.inset), 2)


def histogram(measure: Mapping[str, Any]) -> dict[str, Any] | None:
    """Makes what the page draws of a measure; None where there are no cuts.

    Args:
      measure: as `figures_of` has it.
    """
    edges = measure["edges"]
    if not edges:
        return None
    scale = Scale.of(edges)
    xs = [LEFT, *(scale.x(edge) for edge in edges), WIDTH - RIGHT]
    both = [kept + dropped for kept, dropped in zip(measure["kept"], measure["dropped"], strict=True)]
    most = max([*both, 1])
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "floor": HEIGHT - BOTTOM,
        "top": TOP,
        "left": LEFT,
        "right": WIDTH - RIGHT,
        "bars": [
            _bar(xs[place], xs[place + 1], kept, dropped, most)
            for place, (kept, dropped) in enumerate(zip(measure["kept"], measure["dropped"], strict=True))
            if kept or dropped
        ],
        "survival": _survival(measure, scale),
        "shares": [{"y": round(_y(share), 2), "text": f"{share:.0%}"} for share in (1, 0.5)],
        "ticks": _ticks(edges, scale),
        "marks": [{"x": scale.x(one["edge"]), "text": text_of(one["value"])} for one in measure["thresholds"]],
        "scale": {"low": scale.low, "high": scale.high, "growing": scale.growing, "inset": scale.inset},
    }


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _bar(left: float, right: float, kept: int, dropped: int, most: int) -> dict[str, float]:
    gap = 0.8 if right - left > 4 else 0
    lower, upper = _y(kept / most), _y((kept + dropped) / most)
    return {
        "x": round(left + gap / 2, 2),
        "width": round(max(right - left - gap, 0.5), 2),
        "kept_y": round(lower, 2),
        "kept_height": round(HEIGHT - BOTTOM - lower, 2),
        "dropped_y": round(upper, 2),
        "dropped_height": round(lower - upper, 2),
    }


def _survival(measure: Mapping[str, Any], scale: Scale) -> str:
    passing = measure["passing"]["samples"]
    total = sum(measure["kept"]) + sum(measure["dropped"])
    if not total:
        return ""
    points = zip(measure["edges"], passing, strict=True)
    return " ".join(f"{scale.x(edge)},{round(_y(samples / total), 2)}" for edge, samples in points)


def _ticks(edges: Sequence[float], scale: Scale) -> list[dict[str, Any]]:
    """Labels of the roundest cuts, none over another."""
    room = (WIDTH - LEFT - RIGHT) / TICKS
    found: list[float] = []
    digits = None
    for edge in sorted(edges, key=lambda one: (-_roundness(one), one)):
        if len(found) >= ENOUGH and digits != math.floor(_roundness(edge) if edge else 0):
            break
        digits = math.floor(_roundness(edge) if edge else 0)
        if all(abs(scale.x(edge) - scale.x(other)) >= room for other in found):
            found.append(edge)
    return [{"x": scale.x(edge), "text": text_of(edge)} for edge in sorted(found)]


def _roundness(value: float) -> float:
    """Rates how few digits a number takes: more for rounder ones, most for 0."""
    if not value:
        return math.inf
    digits = f"{abs(value):.6e}".partition("e")[0].replace(".", "").rstrip("0")
    return -2 * len(digits) + (digits[-1] == "5") + math.log10(abs(value)) / 100


def text_of(value: float) -> str:
    """A number as people write it: `12,000`, `0.35`, `5.4`, `1e+300`."""
    if abs(value) >= 1e15:
        return f"{value:.4g}"
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
