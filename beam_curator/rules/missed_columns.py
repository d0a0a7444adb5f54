"""Columns that rules of the user ask for and no row is going to have: found by a trial, before any work."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from beam_curator.errors import UsageError
from beam_curator.field_names import is_carried, is_field
from beam_curator.field_tally import nearest
from beam_curator.rules.made_up_rows import GUESSES, MadeUpRow, NeverEnds, all_choices
from beam_curator.rules.names import missing_column, rule_name, visible

_UsersRule = Callable[[Mapping[str, Any]], Any]


def check_users_rule(
    rule: _UsersRule, types: Mapping[str, str], fields: Mapping[str, str] | None, carry: Sequence[str]
) -> None:
    """Raises UsageError for a rule of the user that asks a row for a column that no row is going to have.

    A copy of it is called with made-up rows, and may fail on them or answer as it likes: all that counts is which
    column it misses. One that it asks for by `get`, or provides for with `except KeyError`, may be missing.

    Args:
      rule: the rule.
      types: what columns hold, by the names of `rows.types_of`.
      fields: what fields of the samples' metadata hold, by these names; None where nobody knows yet which there are.
      carry: which fields are carried.
    """
    there = {**types, **(fields or {})}
    missed = _missed_by(rule, there, lambda name: fields is None and is_field(name) and is_carried(name, carry))
    if missed is None:
        return
    told = f'rule "{rule_name(rule)}" wants'
    if not is_field(missed):
        raise UsageError(f'{told} a column "{missed}" {missing_column(missed, visible(there))}')
    if not is_carried(missed, carry):
        raise UsageError(f"{told} {missed}, which --carry {','.join(carry) or 'none'} leaves out: add it")
    raise UsageError(f"{told} {missed}, which no sample has: {nearest(missed, fields or {})}")


def _missed_by(rule: _UsersRule, types: Mapping[str, str], may_be_there: Callable[[str], bool]) -> str | None:
    """The first column that a rule cannot do without, whatever the values are, and those of columns that may be there.
    None if it misses none."""
    with contextlib.suppress(Exception):  # one that cannot be copied is called itself
        rule = copy.deepcopy(rule)
    for guess in GUESSES:
        guessed = False
        for choices in all_choices():
            row = MadeUpRow(types, may_be_there, guess, choices)
            try:
                bool(rule(row))
            except NeverEnds:  # which says nothing of real values
                return None
            except (Exception, SystemExit) as error:  # of made-up values it may say what it likes
                missed = row.missed_by(error)
                if missed is not None:
                    return missed
            guessed |= row.guessed
        if not guessed:
            break
    return None
