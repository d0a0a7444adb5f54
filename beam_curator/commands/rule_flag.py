"""A rule as the command line gives it: `[NAME=]package.module:object[(VALUES)]`."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import inspect
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from beam_curator.errors import UsageError
from beam_curator.rules.names import called, rule_name
from beam_curator.rules.rule import ColumnRule, Rule

SYNTAX = "[NAME=]package.module:object[(VALUES)]"
_RULE = re.compile(
    r"\s*(?:(?P<name>[^=:()]+)=)?\s*(?P<module>[^\W\d][\w.]*):(?P<object>[^\W\d][\w.]*)\s*(?P<values>\(.*\))?\s*",
    re.DOTALL,
)


@dataclasses.dataclass(frozen=True)
class _Values:
    """The values in brackets, as a call takes them."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


class NamedRule:
    """A rule under another name."""

    def __init__(self, name: str, rule: Rule) -> None:
        self.name, self.rule = name, rule

    def __call__(self, row: Mapping[str, Any]) -> Any:
        return self.rule(row)


class NamedColumnRule(ColumnRule):
    """A rule of ours under another name: it still works on whole columns at once."""

    name = ""

    def __init__(self, name: str, rule: ColumnRule) -> None:
        self.name, self.rule = name, rule

    @property
    def columns(self) -> tuple[str, ...]:
        return self.rule.columns

    def __call__(self, row: Mapping[str, Any]) -> Any:
        return self.rule(row)


def plain(rule: Rule) -> Rule:
    """The rule itself, if it is one under another name."""
    return rule.rule if isinstance(rule, (NamedRule, NamedColumnRule)) else rule


def load_rule(text: str) -> Rule:
    """The user's rule: a function of a row, a rule object, a class of rules, or what makes a rule of the values.

    A function whose first argument is called `row` is a rule, and is called with a row and the values; any other
    function, and a class, is called with the values and makes the rule. Values are Python's literals: no code is run
    for them. The reason in the ledger is NAME, else the rule's own `name`, else what was called, with its values.

    Raises:
      UsageError: when there is no such thing, or it cannot be called so.
    """
    found = _RULE.fullmatch(text)
    if found is None:
        raise UsageError(f"--rule {text}: write it as {SYNTAX}, such as my_rules:longer_than(words=4)")
    values = _values(text, found["values"]) if found["values"] else None
    here = str(Path.cwd())
    if here not in sys.path:  # as `python -m` does, so that the console script finds the same modules
        sys.path.insert(0, here)
    try:
        thing = functools.reduce(getattr, found["object"].split("."), importlib.import_module(found["module"]))
        rule = _rule(thing, values)
    except Exception as error:  # importing and making run the user's code: whatever it raises is theirs to mend
        raise UsageError(f"--rule {text}: cannot be loaded: {type(error).__name__}: {error}") from error
    if not callable(rule):
        raise UsageError(f"--rule {text}: is a {type(rule).__name__}, not something to call with a row")
    return _named(found["name"].strip(), rule) if found["name"] else rule


def _values(text: str, brackets: str) -> _Values:
    try:
        call = ast.parse(f"rule{brackets}", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise ValueError(brackets)
        kwargs = {one.arg: ast.literal_eval(one.value) for one in call.keywords if one.arg is not None}
        if len(kwargs) != len(call.keywords):
            raise ValueError(brackets)
        return _Values(tuple(map(ast.literal_eval, call.args)), kwargs)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise UsageError(
            f"--rule {text}: {brackets} does not hold plain values, such as (4, 0.5, 'text', name=True, sizes=[1, 2])"
        ) from error


def _rule(thing: Any, values: _Values | None) -> Rule:
    if values is None:
        return thing() if isinstance(thing, type) else thing
    if _takes_row(thing):
        inspect.signature(thing).bind({}, *values.args, **values.kwargs)
        rule = functools.partial(_with_row, thing, values.args, values.kwargs)
    else:
        rule = thing(*values.args, **values.kwargs)
    if getattr(rule, "name", None) or not callable(rule):
        return rule
    return _named(called(rule_name(thing), values.args, values.kwargs), rule)


def _takes_row(thing: Any) -> bool:
    return inspect.isroutine(thing) and next(iter(inspect.signature(thing).parameters), None) == "row"


def _with_row(function: Rule, args: tuple[Any, ...], kwargs: Mapping[str, Any], row: Mapping[str, Any]) -> Any:
    return function(row, *args, **kwargs)


def _named(name: str, rule: Rule) -> Rule:
    return NamedColumnRule(name, rule) if isinstance(rule, ColumnRule) else NamedRule(name, rule)
