"""Finds the fields of the samples' metadata that a selection looks at: they are read for it, all others only for the
ledger."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from beam_curator.errors import UsageError
from beam_curator.field_names import is_carried, is_field
from beam_curator.field_tally import FieldsFound, nearest
from beam_curator.rules.lists import ListFile
from beam_curator.rules.rule import Rule, TableRule
from beam_curator.rules.top import Top


@dataclasses.dataclass(frozen=True)
class FieldsWanted:
    """Columns of fields that a selection looks at.

    Attributes:
      needed: by column, what needs it, as the user is told.
      optional: columns that are looked at if they are there.
      every: whether all are wanted that there are: a rule of the user's own may look at any.
      found: what was met of all fields, where a finished job says it; None where it is told by all samples together.
    """

    needed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    optional: frozenset[str] = frozenset()
    every: bool = False
    found: FieldsFound | None = None

    def __bool__(self) -> bool:
        return bool(self.needed or self.optional or self.every)

    def check_carried(self, carry: Sequence[str]) -> None:
        """Raises UsageError for a field that is needed and not chosen to be carried."""
        for column, what in self.needed.items():
            if not is_carried(column, carry):
                raise UsageError(f"{what} wants {column}, which --carry {','.join(carry) or 'none'} leaves out: add it")

    def check_there(self, there: Mapping[str, str]) -> None:
        """Raises UsageError for a field that is needed and that no sample has."""
        for column, what in self.needed.items():
            if column not in there:
                raise UsageError(f"{what} wants {column}, which no sample has: {nearest(column, there)}")

    def types(self, there: Mapping[str, str]) -> dict[str, str | None]:
        """Gives the type of each column that is looked at, as `FieldsFound.types` has it; None of one that no sample
        has."""
        wanted = {*self.needed, *self.optional, *(there if self.every else ())}
        return {name: there.get(name) for name in sorted(wanted)}


def fields_wanted(rules: Sequence[Rule], lists: Sequence[ListFile], tops: Sequence[Top]) -> FieldsWanted:
    """Gathers the fields that rules, lists and tops look at."""
    needed: dict[str, str] = {}
    optional: set[str] = set()
    for rule in rules:
        if isinstance(rule, TableRule):
            for column, is_needed in rule.fields.items():
                if is_needed:
                    needed.setdefault(column, rule.in_words)
                else:
                    optional.add(column)
    for one in lists:
        if is_field(one.row_column):
            needed.setdefault(one.row_column, f"--{'allow' if one.allows else 'block'} {one.path}")
    for top in tops:
        if is_field(top.column):
            needed.setdefault(top.column, f"{top.in_words} of {top.column}")
    every = any(not isinstance(rule, TableRule) for rule in rules)
    return FieldsWanted(needed, frozenset(optional - set(needed)), every)
