"""Chooses the thresholds that can be moved on the page, and tells what is known of samples that others dropped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beam_curator import rows
from beam_curator.report.accumulators import Accumulator
from beam_curator.report.columns import ASPECT_RATIO
from beam_curator.report.flow import DUPLICATE
from beam_curator.report.joint import DROPPED, KEPT, Axis, JointHistogram
from beam_curator.report.joint import DUPLICATE as COPY
from beam_curator.report.thresholds import AT_LEAST, AT_MOST, Threshold
from beam_curator.report.view import View

MOST_AXES = 6
"""So many columns can be moved together."""

MORE_AXES = 2
"""So many of them are scores that no rule looks at."""


def edge_of(one: Threshold) -> float:
    """The cut at which a threshold stands: what is below it fails an `AT_LEAST`, and passes any other."""
    if one.keeps == AT_MOST and one.column != ASPECT_RATIO:
        return float(np.nextafter(one.value, math.inf))
    return one.value


def axes_of(thresholds: Sequence[Threshold], edges: Mapping[str, Sequence[float]], more: Sequence[str]) -> list[Axis]:
    """The columns that can be moved.

    Args:
      thresholds: those of the rules.
      edges: the cuts of each column.
      more: scores that no rule looks at.
    """
    found = []
    for one in thresholds[:MOST_AXES]:
        cuts = tuple(edges[one.column])
        at = cuts.index(edge_of(one))
        position = at + 1 if one.keeps == AT_LEAST else at
        found.append(Axis(one.column, one.keeps, cuts, position, one.rule, one.flag))
    for column in more[: max(0, min(MORE_AXES, MOST_AXES - len(found)))]:
        found.append(Axis(column, AT_LEAST, tuple(edges[column]), 0))
    return found


class WhatIf(Accumulator):
    """Counts the samples of a ledger for thresholds that are moved.

    Attributes:
      joint: the counts.
      thresholds: those that can be moved.
    """

    def __init__(self, thresholds: Sequence[Threshold], axes: Sequence[Axis]) -> None:
        self.joint = JointHistogram(axes)
        self.thresholds = list(thresholds[:MOST_AXES])
        self._given = list(axes)
        columns = {one.column for one in self.thresholds}
        nothing = [f"no {column}" for column in sorted(columns)]
        self._reasons = [*(one.rule for one in self.thresholds), *nothing, *(["no caption"] if columns else [])]

    def add(self, view: View) -> None:
        """Counts some more rows."""
        states = self._states(view)
        there = states >= 0
        places = [view.places(axis.column, axis.edges)[there] for axis in self._given]
        self.joint.add(places, states[there])

    def _states(self, view: View) -> NDArray[np.int64]:
        """Gives each row its state; -1 for what no threshold brings back."""
        return view.by_outcome(self._state, np.int64)

    def _state(self, status: str, why: str) -> int:
        if status == rows.KEPT:
            return KEPT
        if status != rows.DROPPED:
            return -1
        if why.startswith(DUPLICATE):
            return COPY
        return DROPPED if why in self._reasons else -1

    def merge(self, other: WhatIf) -> None:
        """Adds what another one of the same thresholds has counted."""
        self.joint.merge(other.joint)

    def as_json(self, reasons: Mapping[str, int], manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Makes the part of the report on moved thresholds, as JSON has it.

        Args:
          reasons: how many samples were dropped for each reason.
          manifest: what it says of rules and duplicates.
        """
        return {**self.joint.as_json(), "unknown": self._unknown(reasons, manifest)}

    def _unknown(self, reasons: Mapping[str, int], manifest: Mapping[str, Any]) -> list[str]:
        """Names what else decides on samples, and was not asked about those that a threshold dropped."""
        named = [str(rule.get("rule")) for rule in manifest.get("rules") or ()]
        asked = bool((manifest.get("flags") or {}).get("duplicates"))
        copies = asked or any(why.startswith(DUPLICATE) for why in reasons)
        known = {*self._reasons, *(why for why in reasons if why.startswith(DUPLICATE))}
        others = [name for name in dict.fromkeys([*named, *reasons]) if name not in known]
        return [*others, *(["duplicates"] if copies else [])]
