"""A rule as the command line gives it: `[NAME=]package.module:object[(VALUES)]`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from beam_curator.commands.named_object import Values, made, named_object
from beam_curator.errors import UsageError
from beam_curator.rules.names import called, rule_name
from beam_curator.rules.rule import Decisions, Rule, TableRule


class NamedRule:
    """A rule under another name."""

    def __init__(self, name: str, rule: Rule) -> None:
        self.name, self.rule = name, rule

    def __call__(self, row: Mapping[str, Any]) -> Any:
        return self.rule(row)


class NamedTableRule(TableRule):
    """A rule of ours under another name: it still works on a whole table at once."""

    name = ""

    def __init__(self, name: str, rule: TableRule) -> None:
        self.name, self.rule = name, rule

    @property
    def fields(self) -> Mapping[str, bool]:
        """The fields that the rule itself looks at."""
        return self.rule.fields

    @property
    def looked_at(self) -> tuple[str, ...] | None:
        """The columns that the rule itself looks at."""
        return self.rule.looked_at

    def check(self, types: Mapping[str, str]) -> None:
        """Checks columns as the rule itself does."""
        self.rule.check(types)

    def decide(self, table: pa.Table) -> Decisions:
        """Decides as the rule itself does."""
        return self.rule.decide(table)

    def __call__(self, row: Mapping[str, Any]) -> Any:
        return self.rule(row)


def plain(rule: Rule) -> Rule:
    """The rule itself, if it is one under another name."""
    return rule.rule if isinstance(rule, (NamedRule, NamedTableRule)) else rule


def load_rule(text: str) -> Rule:
    """The user's rule: a function of a row, a rule object, a class of rules, or what makes a rule of the values.

    A function whose first argument is called `row` is a rule, and is called with a row and the values; any other
    function, and a class, is called with the values and makes the rule. Values are Python's literals: no code is run
    for them. The reason in the ledger is NAME, else the rule's own `name`, else what was called, with its values.

    Raises:
      UsageError: when there is no such thing, or it cannot be called so.
    """
    given = named_object("--rule", text, "my_rules:longer_than(words=4)")
    rule = given.load(_rule)
    if not callable(rule):
        raise UsageError(f"--rule {text}: is a {type(rule).__name__}, not something to call with a row")
    return _named(given.name, rule) if given.name else rule


def _rule(thing: Any, values: Values | None) -> Rule:
    if values is None:
        return made(thing, None)
    if _takes_row(thing):
        inspect.signature(thing).bind({}, *values.args, **values.kwargs)
        rule = functools.partial(_with_row, thing, values.args, values.kwargs)
    else:
        rule = made(thing, values)
    if getattr(rule, "name", None) or not callable(rule):
        return rule
    return _named(called(rule_name(thing), values.args, values.kwargs), rule)


def _takes_row(thing: Any) -> bool:
    return inspect.isroutine(thing) and next(iter(inspect.signature(thing).parameters), None) == "row"


def _with_row(function: Rule, args: tuple[Any, ...], kwargs: Mapping[str, Any], row: Mapping[str, Any]) -> Any:
    return function(row, *args, **kwargs)


def _named(name: str, rule: Rule) -> Rule:
    return NamedTableRule(name, rule) if isinstance(rule, TableRule) else NamedRule(name, rule)
