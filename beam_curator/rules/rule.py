"""Rules: which rows are kept, which are dropped, and for what reason."""

from __future__ import annotations

import abc
import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from beam_curator import rows
from beam_curator.errors import UsageError
from beam_curator.field_names import is_field
from beam_curator.given_values import is_number
from beam_curator.rule_tally import RuleTally, Tallies
from beam_curator.rules.names import missing_column, rule_name, visible
from beam_curator.rules.users_rules import failed_of, outcome_of, tally_of

Rule = Callable[[Mapping[str, Any]], Any]
"""A rule decides on a sample: it takes its row (ledger column to value, scores among them), and true keeps it. Its
`rule_name` is the reason that the ledger gives for what it drops."""


@dataclasses.dataclass(frozen=True)
class Decisions:
    """The decisions of a rule on n rows.

    Attributes:
      keeps: bool [n].
      reasons: why rows are dropped that these are true of (bool [n]), in place of the rule's name; the first counts.
      failures: what the rule failed with, by index.
    """

    keeps: np.ndarray
    reasons: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    failures: Mapping[int, str] = dataclasses.field(default_factory=dict)


class TableRule(abc.ABC):
    """A rule of ours: works on one row, and as well on all rows of a table at once."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The reason in the ledger for what it drops."""

    @abc.abstractmethod
    def check(self, types: Mapping[str, str]) -> None:
        """Raises UsageError where rows with these columns, of these types (`rows.types_of`), cannot be judged."""

    @abc.abstractmethod
    def decide(self, table: pa.Table) -> Decisions:
        """Decides on rows that `check` has nothing against."""

    @property
    def in_words(self) -> str:
        """The name of the rule in messages."""
        return f'rule "{self.name}"'

    @property
    def fields(self) -> Mapping[str, bool]:
        """The fields of the samples' metadata that it looks at, by column: whether it needs them."""
        return {}

    @property
    def looked_at(self) -> tuple[str, ...] | None:
        """The columns that it looks at, in any letters; None where nobody knows."""
        return None

    @classmethod
    def decide_all(cls, rules: Sequence[Any], table: pa.Table) -> list[Decisions]:
        """Decides by several rules of this class on the same rows, where that is faster together."""
        return [rule.decide(table) for rule in rules]

    @abc.abstractmethod
    def __call__(self, row: Mapping[str, Any]) -> Any:
        """Decides on one row: true keeps it."""


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


def judge(table: pa.Table, rules: Sequence[Rule]) -> tuple[pa.Table, Tallies]:
    """The rows with those dropped that a rule rejects, and the tally of each rule.

    The first rule that rejects a row gives its reason; rows that are dropped or failed already stay as they are. A row
    without a value in a column that a rule of ours compares is dropped for that: "no similarity". A rule of the user
    that raises, or gives what is neither true nor false, fails the row, with its message.

    Raises:
      CurationError: for a rule of ours on a column that the rows do not have, or that holds no numbers.
    """
    status = np.asarray(table["status"].to_pylist(), dtype=object)
    reason = np.asarray(table["reason"].to_pylist(), dtype=object)
    came = status == rows.KEPT
    tallies: dict[str, RuleTally] = {}
    decisions = _decisions(table, rules)
    for place, (rule, label) in enumerate(zip(rules, labels(rules), strict=True)):
        if isinstance(rule, TableRule):
            tallies[label] = _apply(rule, decisions[place], status, reason, came)
            continue
        undecided = np.flatnonzero(status == rows.KEPT)
        at_hand = table.take(undecided).to_pylist() if len(undecided) else []
        outcomes = [outcome_of(rule, row) for row in at_hand]
        for index, outcome in zip(undecided, outcomes, strict=True):
            status[index], reason[index] = outcome.status, outcome.reason
        tallies[label] = tally_of(outcomes)
    return rows.with_column(rows.with_column(table, "status", status), "reason", reason), tallies


def _decisions(table: pa.Table, rules: Sequence[Rule]) -> dict[int, Decisions]:
    """Decides by the rules of ours on all rows; gives the decisions by the rules' places."""
    types = rows.types_of(table.schema)
    by_class: dict[type[TableRule], list[int]] = {}
    for place, rule in enumerate(rules):
        if isinstance(rule, TableRule):
            rule.check(types)
            by_class.setdefault(type(rule), []).append(place)
    found: dict[int, Decisions] = {}
    for kind, places in by_class.items():
        found |= zip(places, kind.decide_all([rules[place] for place in places], table), strict=True)
    return found


def _apply(
    rule: TableRule, decisions: Decisions, status: np.ndarray, reason: np.ndarray, came: np.ndarray
) -> RuleTally:
    """Notes in status and reason what a rule of ours makes of the rows that are undecided; `came` were so at first."""
    undecided = status == rows.KEPT
    rejects, faults = ~decisions.keeps, []
    for index, fault in decisions.failures.items():
        rejects[index] = False
        if undecided[index]:
            failed = failed_of(rule, fault)
            status[index], reason[index] = failed.status, failed.reason
            faults.append(failed.fault)
    rejected = undecided & rejects
    status[rejected], reason[rejected] = rows.DROPPED, rule.name
    for why, is_so in reversed(list(decisions.reasons.items())):
        reason[rejected & is_so] = why
    return RuleTally(
        int(undecided.sum()),
        len(faults),
        example=min(faults, default=""),
        dropped=int(rejected.sum()),
        alone=int((rejects & came).sum()),
    )


def labels(rules: Sequence[Rule]) -> list[str]:
    """The rules' names, each with its number where several have the same."""
    names = [rule_name(rule) for rule in rules]
    count = collections.Counter(names)
    return [name if count[name] == 1 else f"{name} (rule {number})" for number, name in enumerate(names, 1)]
