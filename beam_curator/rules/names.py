"""Names rules: the name is the reason in the ledger for what a rule drops, the same in every run and on every
worker."""

from __future__ import annotations

import difflib
import functools
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from beam_curator import rows
from beam_curator.field_names import PREFIX, is_field

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_LONGEST = 80
_FIELD_IN_FILES = f"{PREFIX.rstrip('.')}_"


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
    """Ends a message about a column that is not there."""
    return f"that the samples do not have: there are {', '.join(names)}"


_HIDDEN = frozenset(
    field.name for field in (*rows.NEW_SCHEMA, *rows.OUTCOME) if rows.role_of(field) not in (rows.FACT, rows.CARRIED)
)


def visible(names: Iterable[str]) -> list[str]:
    """Picks the columns that rules may name: not those for our own use, nor those that say what becomes of samples."""
    return [name for name in names if name not in _HIDDEN and ("." not in name or is_field(name))]


_MEASURES = ("brightness", "brightness_p5", "brightness_p99", "contrast", "blur", "entropy", "greyscale")

GIVEN_BY: Mapping[str, str] = {
    "aesthetic": "--aesthetic_model gives it",
    "nsfw": "--nsfw_model gives it",
    "similarity": "--similarity gives it",
    **dict.fromkeys(
        ("caption_words", "caption_characters", "language", "language_probability"), "--caption_measures gives it"
    ),
    **dict.fromkeys(_MEASURES, "--image_measures gives it"),
    "caption_repeats": "--max_caption_repeats gives it, after all rules, and drops by it",
    "phash256": "scores of an earlier release do not have it",
}
"""Columns that rows have only where they are asked for, and what asks for them."""


def missing_column(column: str, there: Sequence[str]) -> str:
    """Ends a message about a column that rules cannot look at: with what gives it, the nearest name, or all there are.

    Args:
      column: as the user spelled it.
      there: those that rules can look at.
    """
    spelled = column.lower()
    if spelled in GIVEN_BY and spelled not in there:
        return f"that the samples do not have: {GIVEN_BY[spelled]}"
    if spelled.startswith(_FIELD_IN_FILES):
        name = f"{PREFIX}{column[len(PREFIX) :]}"
        return f"that the samples do not have: did you mean {name}, as rules call it?"
    known = {name.lower(): name for name in (*GIVEN_BY, *there)}
    near = difflib.get_close_matches(spelled, known, n=1, cutoff=0.6)
    if not near:
        return there_are(there)
    name = known[near[0]]
    hint = "" if name in there else f" ({GIVEN_BY[name]})"
    return f"that the samples do not have: did you mean {name}?{hint}"


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
