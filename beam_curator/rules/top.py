"""The best samples by a column: a fraction of all, or so many. Exact at any scale, from counts alone.

The threshold is found digit by digit: a number's bits, put in such an order that they compare as the numbers do, are
four digits of 16 bits. How often each first digit comes tells that of the threshold, how often each second one comes
among these the next, and so on. Counts may be added up in any order.
"""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from beam_curator import rows
from beam_curator.errors import UsageError
from beam_curator.field_names import is_field
from beam_curator.rule_tally import RuleTally
from beam_curator.rules.column_rules import why_nothing
from beam_curator.rules.names import missing_column, visible

LEVELS, _DIGIT_BITS = 4, 16
_SIGN = np.uint64(1 << 63)
_KEEPS_ALL = float("-inf")


@dataclasses.dataclass(frozen=True)
class Top:
    """A rule that keeps the best samples: those whose value is at least that at one place of the descending order.

    Of a fraction f of N values that is place int(N f), counted from 0, as DataComp has it; of a count, the last of so
    many. Those that are equal to it stay as well; where there is no such place, all do.

    Attributes:
      column: of numbers; the higher, the better.
      fraction: above 0, and 1 at most; or None.
      count: 1 or more; or None.
    """

    column: str
    fraction: float | None = None
    count: int | None = None

    @property
    def in_words(self) -> str:
        """The choice as text for people, such as "top 0.3"."""
        return f"top {self.fraction:g}" if self.fraction is not None else f"best {self.count}"

    @property
    def _flag(self) -> str:
        """The flag with which the user gave it."""
        if self.fraction is None:
            return f"--keep_best {self.count} {self.column}"
        return f"--keep_top {self.column}={self.fraction:g}"

    @property
    def name(self) -> str:
        """The name of the rule before its threshold is known."""
        return f"{self.column} not in the {self.in_words}"

    def place(self, values: int) -> int:
        """The place of its threshold among so many values in descending order, from 0."""
        return int(values * self.fraction) if self.fraction is not None else (self.count or 1) - 1

    def check(self, types: Mapping[str, str]) -> None:
        """Raises UsageError for a column that is not among these, or that holds no numbers; fields of the samples'
        metadata may be missing."""
        if self.column not in types and not is_field(self.column):
            raise UsageError(
                f'{self._flag} wants a column "{self.column}" {missing_column(self.column, visible(types))}'
            )
        if types.get(self.column, rows.NOTHING) not in ("number", rows.NOTHING):
            raise UsageError(f"{self._flag} wants numbers, and the column {self.column} holds {types[self.column]}s")


def top_fraction(text: str) -> Top:
    """`COLUMN=FRACTION`, such as `similarity=0.3`.

    Raises:
      UsageError: for any other text.
    """
    column, is_there, number = (part.strip() for part in text.rpartition("="))
    try:
        fraction = float(number)
    except ValueError:
        fraction = 0.0
    if not is_there or not column or not 0 < fraction <= 1:
        raise UsageError(
            f"--keep_top {text}: write COLUMN=FRACTION with a fraction above 0, and 1 at most, such as similarity=0.3"
        )
    return Top(column, fraction=fraction)


def top_count(text: str) -> Top:
    """`N COLUMN`, such as `1000000 aesthetic`.

    Raises:
      UsageError: for any other text.
    """
    found = re.fullmatch(r"\s*([1-9][0-9]*)\s+(\S.*?)\s*", text)
    if found is None:
        raise UsageError(f"--keep_best {text}: write N COLUMN with a whole number above 0, such as 1000000 aesthetic")
    return Top(found[2], count=int(found[1]))


@dataclasses.dataclass(frozen=True)
class Search:
    """The state of the search for the thresholds of some `Top`s, which are found one after the other.

    Attributes:
      thresholds: those that are found.
      digits: of the next one, those that are known, as one number.
      level: how many these are.
      place: of the next threshold among the values with these digits, in descending order; -1 before they are counted.
    """

    thresholds: tuple[float, ...] = ()
    digits: int = 0
    level: int = 0
    place: int = -1

    def after(self, top: Top, counts: Mapping[int, int]) -> Search:
        """Goes on by one digit.

        Args:
          top: whose threshold is looked for.
          counts: how often each digit comes, as `digit_counts` gives it, all together.
        """
        place = top.place(sum(counts.values())) if self.level == 0 else self.place
        for digit in sorted(counts, reverse=True):
            if place < counts[digit]:
                found = dataclasses.replace(
                    self, digits=(self.digits << _DIGIT_BITS) | digit, level=self.level + 1, place=place
                )
                return found if found.level < LEVELS else Search((*self.thresholds, _number(found.digits)))
            place -= counts[digit]
        # There is no such place. No number's first digit is 0, so that the levels to come count nothing.
        if self.level == LEVELS - 1:
            return Search((*self.thresholds, _KEEPS_ALL))
        return dataclasses.replace(self, level=self.level + 1, place=place)


def values_of(table: pa.Table, tops: tuple[Top, ...]) -> np.ndarray:
    """The numbers that decide: float64 [columns, kept rows], NaN where there is none.

    Raises:
      CurationError: for a column that is not there, or that holds no numbers.
    """
    for top in tops:
        top.check(rows.types_of(table.schema))
    is_kept = rows.status_is(table, rows.KEPT)
    found = [rows.numbers_in(table, top.column)[is_kept] + 0.0 for top in tops]  # -0.0 is 0.0
    return np.array(found, np.float64).reshape(len(tops), int(is_kept.sum()))


def digit_counts(values: np.ndarray, search: Search) -> collections.Counter[int]:
    """Counts how often each next digit comes among the values that the search has come to.

    Args:
      values: float64 [columns, n], as `values_of` gives them.
      search: what is known so far.
    """
    number = len(search.thresholds)
    is_in = ~np.isnan(values[number])
    for column, threshold in enumerate(search.thresholds):
        is_in &= values[column] >= threshold
    keys = _keys(values[number][is_in])
    below = np.uint64(_DIGIT_BITS * (LEVELS - search.level))
    if search.level:
        keys = keys[(keys >> below) == np.uint64(search.digits)]
    digits = (keys >> (below - np.uint64(_DIGIT_BITS))) & np.uint64(0xFFFF)
    found, counts = np.unique(digits, return_counts=True)
    return collections.Counter(dict(zip(found.tolist(), counts.tolist(), strict=True)))


def keep_top(
    table: pa.Table, tops: tuple[Top, ...], thresholds: tuple[float, ...]
) -> tuple[pa.Table, dict[str, RuleTally]]:
    """The rows with those dropped that are below a threshold, and how each fared."""
    status = np.asarray(table["status"].to_pylist(), dtype=object)
    reason = np.asarray(table["reason"].to_pylist(), dtype=object)
    tallies: dict[str, RuleTally] = {}
    for top, threshold in zip(tops, thresholds, strict=True):
        undecided = status == rows.KEPT
        values = rows.numbers_in(table, top.column)
        dropped = undecided & ~(values >= threshold)
        name = f"{top.column} < {_shortest(threshold)} ({top.in_words})"
        status[dropped], reason[dropped] = rows.DROPPED, name
        for why, is_so in reversed(list(why_nothing(table, (top.column,)).items())):
            reason[dropped & is_so] = why
        tally = RuleTally(int(undecided.sum()), dropped=int(dropped.sum()), alone=None)
        tallies[name] = tallies.get(name, RuleTally(alone=None)) + tally
    return rows.with_column(rows.with_column(table, "status", status), "reason", reason), tallies


def _keys(values: np.ndarray) -> np.ndarray:
    """uint64 that compare as these float64 do."""
    bits = np.ascontiguousarray(values).view(np.uint64)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _number(key: int) -> float:
    """The float64 of a key."""
    bits = key & ~int(_SIGN) if key & int(_SIGN) else ~key & (2**64 - 1)
    return float(np.array([bits], np.uint64).view(np.float64)[0])


def _shortest(value: float) -> str:
    """A threshold as people read it: of a float32, as that."""
    single = np.float32(value)
    return str(single) if float(single) == value else f"{value:g}"
