"""Makes a rule of a condition in SQL."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from beam_curator import rows
from beam_curator.field_names import is_field
from beam_curator.rules.conditions import check_condition, evaluate
from beam_curator.rules.rule import Decisions, TableRule
from beam_curator.rules.sql_syntax import Condition, in_words, parse_condition


@dataclasses.dataclass(frozen=True)
class Where(TableRule):
    """Keeps samples that a condition in SQL is true of, such as "aesthetic >= 5 OR caption ILIKE '%photo%'".

    It may name the ledger's columns: facts, scores, the caption, and fields of the samples' metadata, as json.url.
    Where it is NULL, as comparisons with nothing are, it is not true, and the sample is dropped, with a reason of its
    own. Where it cannot be evaluated (text that a cast takes for a number) the sample fails.

    Attributes:
      condition: an expression as after WHERE: columns, constants, operators, and functions of one sample's values.

    Raises:
      UsageError: for a condition that is none.
    """

    condition: str

    def __post_init__(self) -> None:
        _ = self._parsed

    @property
    def name(self) -> str:
        """The reason in the ledger for what it is false of."""
        return f"NOT ({self._text})"

    @property
    def in_words(self) -> str:
        return in_words(self._text)

    @property
    def fields(self) -> Mapping[str, bool]:
        """Fields for which the condition provides with coalesce are not needed."""
        condition = self._parsed
        return {name: name not in condition.provided for name in condition.columns if is_field(name)}

    @property
    def looked_at(self) -> tuple[str, ...] | None:
        return tuple(self._parsed.columns)

    @property
    def _text(self) -> str:
        return " ".join(self.condition.split())

    @property
    def _parsed(self) -> Condition:
        return _parsed(self.condition)

    def check(self, types: Mapping[str, str]) -> None:
        """Raises UsageError for a column that is not among these, and for a condition that is no condition on them."""
        check_condition(self._parsed, types)

    def decide(self, table: pa.Table) -> Decisions:
        """Decides by the condition; rows of which it is NULL are dropped for that."""
        return self.decide_all([self], table)[0]

    @classmethod
    def decide_all(cls, rules: Sequence[Where], table: pa.Table) -> list[Decisions]:
        """Decides by several conditions as `decide` does by one, in one question to the engine."""
        answers = evaluate([rule._parsed for rule in rules], table)
        return [
            Decisions(one.true, {f"({rule._text}) IS NULL": one.null}, one.failures)
            for rule, one in zip(rules, answers, strict=True)
        ]

    def __call__(self, row: Mapping[str, Any]) -> bool:
        (answers,) = evaluate([self._parsed], rows.from_dicts([row]))
        if answers.failures:
            raise ValueError(answers.failures[0])
        return bool(answers.true[0])


@functools.lru_cache(1000)
def _parsed(text: str) -> Condition:
    return parse_condition(text)
