"""Has rules decide on the rows of a table: which are kept, which are dropped or failed, and for what reason."""

from __future__ import annotations

import collections
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from beam_curator import rows
from beam_curator.rule_tally import RuleTally, Tallies
from beam_curator.rules.names import rule_name
from beam_curator.rules.rule import Decisions, Rule, TableRule
from beam_curator.rules.users_rules import failed_of, outcome_of, tally_of


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
