"""Rules of the user, which may raise or answer anything: what each makes of a row."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from beam_curator import rows
from beam_curator.rule_tally import RuleTally
from beam_curator.rules.names import rule_name, there_are


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome of a row by a rule of the user.

    Attributes:
      status: kept, dropped or failed.
      reason: for what, unless it is kept.
      fault: what is wrong with the rule, if it failed the row.
      gave_none: whether its answer was None.
    """

    status: str
    reason: str | None = None
    fault: str = ""
    gave_none: bool = False


_KEPT = Outcome(rows.KEPT)


def outcome_of(rule: Callable[[Mapping[str, Any]], Any], row: Mapping[str, Any]) -> Outcome:
    """Applies a rule of the user to a row; whatever it raises fails that row alone."""
    try:
        answer = rule(_Row(row))
        if _is_no_answer(answer):
            fault = f"gave {_shown(answer)}: neither true nor false"
        elif answer:
            return _KEPT
        else:
            return Outcome(rows.DROPPED, rule_name(rule), gave_none=answer is None)
    except _NoSuchColumnError as error:
        fault = f"raised KeyError: {error}"
    except (Exception, SystemExit) as error:  # a rule is the user's code: what it raises concerns this row alone
        fault = f"raised {type(error).__name__}: {_message(error)}"
    return failed_of(rule, fault)


def failed_of(rule: Callable[[Mapping[str, Any]], Any], fault: str) -> Outcome:
    """A row failed for what is wrong with a rule on it."""
    fault = fault.encode("utf-8", "backslashreplace").decode()  # a file name in it may be no UTF-8
    return Outcome(rows.FAILED, f"rule {rule_name(rule)} {fault}", fault)


def _is_no_answer(answer: Any) -> bool:
    """Tells whether Python takes for true what says nothing: NaN and NaT, which are unequal to themselves, an array of
    no elements, and what only would give an answer if it were called or awaited."""
    if isinstance(answer, (bool, np.bool_, str)) or answer is None:
        return False
    if callable(answer) or inspect.isgenerator(answer) or inspect.isawaitable(answer):
        if inspect.iscoroutine(answer):
            answer.close()  # or Python warns that nobody awaited it
        return True
    return not answer == answer or getattr(answer, "size", 1) == 0  # noqa: SIM201


def _shown(answer: Any) -> str:
    text = str(answer)
    return f"a {type(answer).__name__}" if len(text) > 20 or "0x" in text else text or repr(answer)


class _NoSuchColumnError(KeyError):
    def __str__(self) -> str:
        return str(self.args[0])


class _Row(dict[str, Any]):
    """A sample's row, which says what there is where a rule asks for what is not."""

    def __missing__(self, name: str) -> Any:
        raise _NoSuchColumnError(f"{name!r}, a column {there_are(list(self))}")


def tally_of(outcomes: Sequence[Outcome]) -> RuleTally:
    """Tallies how a rule of the user fared."""
    faults = [outcome.fault for outcome in outcomes if outcome.fault]
    none = sum(outcome.gave_none for outcome in outcomes)
    dropped = sum(outcome.status == rows.DROPPED for outcome in outcomes)
    return RuleTally(len(outcomes), len(faults), none, min(faults, default=""), dropped, alone=None)


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # its __str__ is the user's code as well
        return "(no message)"
