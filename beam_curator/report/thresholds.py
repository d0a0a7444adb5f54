"""Rules that are thresholds of one column, read from what the manifest says of them."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beam_curator.report.columns import ASPECT_RATIO

AT_LEAST, BELOW, AT_MOST = ">=", "<", "<="

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
_COLUMN = r"(?P<column>[^\W\d][\w.]*)"
_NUMBERED = re.compile(r" \(rule \d+\)$")
_UNDER = re.compile(rf"{_COLUMN} < (?P<value>{_NUMBER})")
_OVER = re.compile(rf"{_COLUMN} >= (?P<value>{_NUMBER})")
_OUTSIDE = re.compile(rf"{_COLUMN} outside (?P<low>{_NUMBER})\.\.(?P<high>{_NUMBER})")
_LONGER = re.compile(rf"{ASPECT_RATIO} > (?P<value>{_NUMBER})")


@dataclasses.dataclass(frozen=True)
class Threshold:
    """The threshold that a rule sets to one column.

    Attributes:
      rule: its name: the reason that the ledger gives for what it drops.
      column: of numbers.
      keeps: the comparison that is true of what is kept: `AT_LEAST`, `BELOW` or `AT_MOST`.
      value: what it is compared with.
      flag: which flag gives it; "" where none does.
    """

    rule: str
    column: str
    keeps: str
    value: float
    flag: str = ""

    @property
    def in_words(self) -> str:
        """The condition that is true of what is kept."""
        return f"{self.column} {self.keeps} {self.value:g}"

    def passes(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tells which of n values are kept: bool [n]; NaN is not."""
        if self.keeps == AT_LEAST:
            return values >= self.value
        return values < self.value if self.keeps == BELOW else values <= self.value


def thresholds_of(manifest: Mapping[str, Any]) -> list[Threshold]:
    """The thresholds among a job's rules, in the order of the rules."""
    flags = manifest.get("flags") or {}
    found: dict[Threshold, None] = {}
    for name in _rule_names(manifest):
        for one in _read(name):
            found.setdefault(_as_given(one, flags))
    return list(found)


def _rule_names(manifest: Mapping[str, Any]) -> list[str]:
    """The reasons that rules give; of an early release those alone that dropped something."""
    named = [_NUMBERED.sub("", str(rule.get("rule", ""))) for rule in manifest.get("rules") or ()]
    dropped = (manifest.get("counts") or {}).get("dropped_by_rule") or {}
    return list(dict.fromkeys([*named, *sorted(dropped)]))


def _read(name: str) -> Iterator[Threshold]:
    if under := _UNDER.fullmatch(name):
        yield Threshold(name, under["column"], AT_LEAST, float(under["value"]))
    elif over := _OVER.fullmatch(name):
        yield Threshold(name, over["column"], BELOW, float(over["value"]))
    elif longer := _LONGER.fullmatch(name):
        yield Threshold(name, ASPECT_RATIO, AT_MOST, float(longer["value"]))
    elif outside := _OUTSIDE.fullmatch(name):
        yield Threshold(name, outside["column"], AT_LEAST, float(outside["low"]))
        yield Threshold(name, outside["column"], AT_MOST, float(outside["high"]))


def _as_given(one: Threshold, flags: Mapping[str, Any]) -> Threshold:
    """The threshold with the value of its flag, which a name has with six digits only."""
    flag = f"{'min' if one.keeps == AT_LEAST else 'max'}_{one.column}"
    given = flags.get(flag)
    if given is None or not isinstance(given, (int, float)) or isinstance(given, bool) or not math.isfinite(given):
        return one
    return dataclasses.replace(one, value=float(given), flag=f"--{flag}") if f"{given:g}" == f"{one.value:g}" else one
