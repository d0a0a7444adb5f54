"""What a rule is called: the reason in the ledger for what it drops, the same in every run and on every worker."""

from __future__ import annotations

import functools
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_LONGEST = 80


def rule_name(rule: Any) -> str:
    """The rule's `name`, or else what it is in the code: a function or a class by its name, `functools.partial` with
    its arguments, a lambda with the line that it is on."""
    name = getattr(rule, "name", None)
    if name:
        return str(name)
    if isinstance(rule, functools.partial):
        name = rule_name(rule.func)
        return called(name, rule.args, rule.keywords) if rule.args or rule.keywords else name
    name = getattr(rule, "__name__", None)
    code = getattr(rule, "__code__", None)
    if name == "<lambda>" and code is not None:
        return f"lambda in {PurePath(code.co_filename).name}, line {code.co_firstlineno}"
    return str(name or type(rule).__name__)


def called(name: str, values: Sequence[Any], named_values: Mapping[str, Any]) -> str:
    """A call as one writes it: `longer_than(words=4)`."""
    shown = [_shown(value) for value in values] + [f"{key}={_shown(value)}" for key, value in named_values.items()]
    return f"{name}({', '.join(shown)})"


def there_are(names: Sequence[str]) -> str:
    """How messages go on about a column that is not there."""
    return f"that the samples do not have: there are {', '.join(names)}"


def _shown(value: Any) -> str:
    """A value as one writes it; without its place in memory, and sets in order, which differ from run to run."""
    if isinstance(value, (set, frozenset)):
        text = f"{{{', '.join(sorted(map(_shown, value)))}}}"
    elif isinstance(value, dict):
        text = f"{{{', '.join(f'{_shown(key)}: {_shown(one)}' for key, one in value.items())}}}"
    elif isinstance(value, (list, tuple)):
        left, right = "[]" if isinstance(value, list) else "()"
        text = f"{left}{', '.join(map(_shown, value))}{right}"
    elif callable(value):
        text = rule_name(value)
    else:
        text = _ADDRESS.sub("", repr(value))
    return textwrap.shorten(text, _LONGEST, placeholder=" ...") if len(text) > _LONGEST else text
