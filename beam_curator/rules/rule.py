"""What a rule is: of ours, on a table at once, or of the user's, on one row."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

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
