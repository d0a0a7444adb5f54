"""Cuts the ranges of histograms: at round numbers that people would type, and at the thresholds themselves."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

from beam_curator.report.spread import Spread

CUTS = 60
"""About how many there are at most."""

_TAIL = 0.005
"""So much of the values at each end may lie beyond the last cut."""

_FAR = 50.0
"""The ratio of its ends from which on a range of sizes (1 and more) is cut in steps that grow."""

_LARGEST, _SMALLEST = 1e300, 1e-290
"""No cut is beyond the first, and none nearer to another than the second: what is computed of them stays a number."""

_OF_A_DECADE = ("1", "1.2", "1.5", "2", "2.5", "3", "4", "5", "6", "8")
_STEPS = (1, 2, 5)


def edges_of(spread: Spread, thresholds: Iterable[float] = ()) -> list[float]:
    """Cuts the range of a column; returns the cuts, ascending, each once. A column without values has its thresholds.

    Args:
      spread: its values.
      thresholds: numbers that are to be among the cuts.
    """
    marks = sorted(set(thresholds))
    if not spread.total:
        return marks
    low, high = _ends(spread)
    inside = [mark for mark in marks if abs(mark) < 10 * max(abs(low), abs(high), 1)]
    low, high = min([low, *inside]), max([high, *inside])
    is_far = low >= 1 and high / low >= _FAR
    found = _growing(low, high) if is_far else _even(low, high, spread.whole)
    while len(found) > 2 * CUTS:
        found = found[::2]
    return sorted({*found, *marks})


def _ends(spread: Spread) -> tuple[float, float]:
    """The ends of a column's values, without long tails."""
    low, high = spread.quantile(_TAIL), spread.quantile(1 - _TAIL)
    width = high - low
    low = spread.lowest if low - spread.lowest <= width / 2 else low
    high = spread.highest if spread.highest - high <= width / 2 else high
    return _within(low), _within(high)


def _within(end: float) -> float:
    return min(max(end, -_LARGEST), _LARGEST)


def _even(low: float, high: float, whole: bool) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten that cover a range; each is the float that its decimals are."""
    least = (high - low) / CUTS or abs(low) / 10 or 1.0
    if whole or least < _SMALLEST:
        least = max(least, 1.0)
    step = next(one for one in _round_steps(least) if one >= least)
    first, last = math.floor(low / float(step)), math.ceil(high / float(step))
    return [float(number * step) for number in range(first, last + 1)]


def _round_steps(about: float) -> list[Fraction]:
    exponent = math.floor(math.log10(about))
    return [step * Fraction(10) ** power for power in (exponent - 1, exponent, exponent + 1) for step in _STEPS]


def _growing(low: float, high: float) -> list[float]:
    """Round numbers in each decade."""
    decades = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 2)
    found = [float(f"{text}e{decade}") for decade in decades for text in _OF_A_DECADE]
    first = max((one for one in found if one <= low), default=found[0])
    last = min((one for one in found if one >= high), default=found[-1])
    return [one for one in found if first <= one <= last]
