"""The flow of samples as a waterfall: seen, failed by reason, dropped by rule, duplicates by kind, kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from beam_curator.first_few import counted

SHOWN = 12
"""So many reasons of one kind have a step of their own."""

DUPLICATE = "duplicate: "
"""The beginning of the ledger's reasons for duplicates."""

SEEN, FAILED, RULE, COPY, KEPT = "seen", "failed", "rule", "duplicate", "kept"


@dataclasses.dataclass(frozen=True)
class Step:
    """One bar of the flow.

    Attributes:
      kind: `SEEN`, `FAILED`, `RULE`, `COPY` or `KEPT`.
      name: the reason, as the ledger has it.
      samples: how many.
      left: how many are left after it.
    """

    kind: str
    name: str
    samples: int
    left: int


def flow_of(counts: Mapping[str, Any], rule_names: Sequence[str] = ()) -> list[Step]:
    """The waterfall of a job's counts, as the manifest has them; the last step's samples are what is left.

    Args:
      counts: "seen", "kept", "dropped_by_rule" and "failed_by_reason".
      rule_names: in the order in which they were tried; what else dropped samples comes after them.
    """
    dropped = dict(counts["dropped_by_rule"])
    order = {name: place for place, name in enumerate(rule_names)}
    of_rules = [one for one in dropped if not one.startswith(DUPLICATE)]
    rules = sorted(of_rules, key=lambda one: (order.get(one, len(order)), one))
    copies = sorted(one for one in dropped if one.startswith(DUPLICATE))
    failed = sorted(counts["failed_by_reason"].items(), key=lambda one: (-one[1], one[0]))
    left = counts["seen"]
    steps = [Step(SEEN, "seen", left, left)]
    for kind, some in (
        (FAILED, failed),
        (RULE, [(name, dropped[name]) for name in rules]),
        (COPY, [(name, dropped[name]) for name in copies]),
    ):
        for name, samples in _first(some, keep_order=kind == RULE):
            left -= samples
            steps.append(Step(kind, name, samples, left))
    return [*steps, Step(KEPT, "kept", left, left)]


def _first(some: Sequence[tuple[str, int]], keep_order: bool) -> list[tuple[str, int]]:
    """The commonest, and one for all others."""
    if len(some) <= SHOWN:
        return list(some)
    common = sorted(some, key=lambda one: (-one[1], one[0]))[: SHOWN - 1]
    shown = [one for one in some if one in common] if keep_order else common
    rest = [one for one in some if one not in common]
    return [*shown, (counted(len(rest), "other reason"), sum(samples for _, samples in rest))]
