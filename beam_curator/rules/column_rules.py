"""Rules that compare the numbers of columns."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from beam_curator import rows
from beam_curator.errors import UsageError
from beam_curator.field_names import is_field
from beam_curator.given_values import is_number
from beam_curator.rules.names import missing_column, visible
from beam_curator.rules.rule import Decisions, TableRule


class ColumnRule(TableRule):
    """A rule that compares numbers: works on one row, and on whole columns (arrays of n) alike."""

    @property
    @abc.abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The columns that it looks at."""

    @abc.abstractmethod
    def __call__(self, row: Mapping[str, Any]) -> Any:
        """Decides on one row, or on n rows by a bool array [n]: true keeps them."""

    def check(self, types: Mapping[str, str]) -> None:
        """Raises UsageError for a column that is not among these, or that holds no numbers. A field of the samples'
        metadata that is not there is one that these have no value of."""
        for column in self.columns:
            if column not in types and not is_field(column):
                hint = missing_column(column, visible(types))
                raise UsageError(f'rule "{self.name}" wants a column "{column}" {hint}')
            if types.get(column, rows.NOTHING) not in ("number", rows.NOTHING):
                raise UsageError(
                    f'rule "{self.name}" compares numbers, and the column "{column}" holds {types[column]}s'
                )

    @property
    def fields(self) -> Mapping[str, bool]:
        return {name: True for name in self.columns if is_field(name)}

    @property
    def looked_at(self) -> tuple[str, ...] | None:
        return self.columns if type(self).decide is ColumnRule.decide else None

    def decide(self, table: pa.Table) -> Decisions:
        """Rows without a value in a column are dropped for that: "no aesthetic", or "no caption" if that is why."""
        keeps = self({name: rows.numbers_in(table, name) for name in self.columns})
        return Decisions(keeps, why_nothing(table, self.columns))


def why_nothing(table: pa.Table, columns: Sequence[str]) -> dict[str, np.ndarray]:
    """Finds the reasons why rows have no value in one of these columns, each with its rows (bool [n]); the first reason
    of a row counts."""
    reasons = {f"no {name}": np.asarray(rows.column_of(table, name).is_null()) for name in columns}
    of_caption = [name for name in columns if name in OF_CAPTION]
    if of_caption and "caption" in table.schema.names:
        none = np.array([not caption for caption in table["caption"].to_pylist()], bool)
        nothing = np.any([reasons[f"no {name}"] for name in of_caption], axis=0)
        reasons = {"no caption": none & nothing, **reasons}
    return reasons


OF_CAPTION = ("similarity", "caption_words", "caption_characters", "language_probability")
"""Columns of ours that a sample without a caption has no value in."""


def _check_number(rule: ColumnRule, what: str, value: Any) -> None:
    """Raises UsageError for a limit that no value can be compared with."""
    if not is_number(value):
        raise UsageError(f"{type(rule).__name__}: {what}={value!r} is not a finite number")


_NEVER_NEGATIVE = ("width", "height", "bytes")


@dataclasses.dataclass(frozen=True)
class _OneColumn(ColumnRule):
    column: str

    def __post_init__(self) -> None:
        if not isinstance(self.column, str) or not self.column:
            raise UsageError(f"{type(self).__name__}: column={self.column!r} is not the name of a column")
        for field in dataclasses.fields(self)[1:]:
            limit = getattr(self, field.name)
            _check_number(self, field.name, limit)
            if self.column in _NEVER_NEGATIVE and limit < 0:
                raise UsageError(f"{type(self).__name__}: {field.name}={limit!r}: {self.column} is never below 0")

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)


@dataclasses.dataclass(frozen=True)
class AtLeast(_OneColumn):
    """Keeps samples whose `column` is at least `minimum`."""

    minimum: float

    @property
    def name(self) -> str:
        return f"{self.column} < {self.minimum:g}"

    def __call__(self, row: Mapping[str, Any]) -> Any:
        return row[self.column] >= self.minimum


@dataclasses.dataclass(frozen=True)
class Below(_OneColumn):
    """Keeps samples whose `column` is below `limit`."""

    limit: float

    @property
    def name(self) -> str:
        return f"{self.column} >= {self.limit:g}"

    def __call__(self, row: Mapping[str, Any]) -> Any:
        return row[self.column] < self.limit


@dataclasses.dataclass(frozen=True)
class Between(_OneColumn):
    """Keeps samples whose `column` is at least `minimum` and at most `maximum`."""

    minimum: float
    maximum: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.minimum > self.maximum:
            raise UsageError(f"Between: minimum={self.minimum!r} is above maximum={self.maximum!r}: nothing is between")

    @property
    def name(self) -> str:
        return f"{self.column} outside {self.minimum:g}..{self.maximum:g}"

    def __call__(self, row: Mapping[str, Any]) -> Any:
        return (row[self.column] >= self.minimum) & (row[self.column] <= self.maximum)


@dataclasses.dataclass(frozen=True)
class AspectRatioAtMost(ColumnRule):
    """Keeps images whose longer side is at most `maximum` times the shorter one."""

    maximum: float

    def __post_init__(self) -> None:
        _check_number(self, "maximum", self.maximum)
        if self.maximum < 1:
            raise UsageError(f"AspectRatioAtMost: maximum={self.maximum!r} is below 1, which no image is")

    @property
    def columns(self) -> tuple[str, ...]:
        return ("width", "height")

    @property
    def name(self) -> str:
        return f"aspect_ratio > {self.maximum:g}"

    def __call__(self, row: Mapping[str, Any]) -> Any:
        width, height = row["width"], row["height"]
        return (width <= self.maximum * height) & (height <= self.maximum * width)
