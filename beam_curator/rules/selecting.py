"""Takes rules as callers of the library give them, and applies them to a table of rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from beam_curator.errors import UsageError
from beam_curator.rules.comparison import rule_of
from beam_curator.rules.judging import judge
from beam_curator.rules.rule import Rule


def rules_of(given: Iterable[Rule | str]) -> list[Rule]:
    """Makes rules of what a caller gives: rules, and comparisons as text.

    Raises:
      UsageError: for what is no rule.
    """
    if isinstance(given, (str, bytes)) or callable(given) or not isinstance(given, Iterable):
        raise UsageError(f"rules={given!r}: give a list of rules, such as ['width >= 64', my_rule]")
    return [rule_of(rule) if isinstance(rule, str) else _checked(rule, index) for index, rule in enumerate(given)]


def _checked(rule: Any, index: int) -> Rule:
    if isinstance(rule, type):
        raise UsageError(f"rules[{index}]: {rule.__name__} is a class: give an object of it, {rule.__name__}(...)")
    if not callable(rule):
        raise UsageError(f"rules[{index}]={rule!r} is not a rule: a rule is called with a row, and true keeps it")
    return rule


def select(table: pa.Table, rules: Iterable[Rule | str]) -> pa.Table:
    """Applies rules to rows: gives all of them, with `status` "kept", "dropped" or "failed", and with the `reason`.

    Args:
      table: a batch's `rows`.
      rules: in the order in which they are tried; comparisons may be text, such as "aesthetic >= 5": see
        `beam_curator.rules.comparison`.

    Raises:
      CurationError: for what is no rule, and for a comparison with a column that the rows do not have, or that holds no
        numbers.
    """
    if not isinstance(table, pa.Table) or "status" not in table.schema.names:
        without = " without status" if isinstance(table, pa.Table) else ""
        raise UsageError(
            f"select takes the rows of a batch, a pyarrow.Table: give batch.rows, not a {type(table).__name__}{without}"
        )
    return judge(table, rules_of(rules))[0]
