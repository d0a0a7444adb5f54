"""A Python object as the command line names it: `[NAME=]package.module:object[(VALUES)]`."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from beam_curator import json_text
from beam_curator.errors import UsageError

SYNTAX = "[NAME=]package.module:object[(VALUES)]"
_SPELLED = re.compile(
    r"\s*(?:(?P<name>[^=:()]+)=)?\s*(?P<module>[^\W\d][\w.]*):(?P<object>[^\W\d][\w.]*)\s*(?P<values>\(.*\))?\s*",
    re.DOTALL,
)

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Values:
    """The values in brackets, as a call takes them."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class NamedObject:
    """An object that a flag names; nothing is imported before `load`.

    Attributes:
      given: the flag with its value, for errors: "--rule my_rules:short".
      module: where the object is imported from.
      path: the object in its module, with dots between attributes.
      name: what the user calls it; None where no NAME was given.
      values: those in brackets; None without brackets.
    """

    given: str
    module: str
    path: str
    name: str | None = None
    values: Values | None = None

    def load(self, make: Callable[[Any, Values | None], T]) -> T:
        """Imports the object, also from the working directory, and gives what `make` makes of it and the values.

        Raises:
          UsageError: for whatever is raised on the way: importing and making run the user's code.
        """
        here = str(Path.cwd())
        if here not in sys.path:  # as `python -m` does, so that the console script finds the same modules
            sys.path.insert(0, here)
        try:
            thing = functools.reduce(getattr, self.path.split("."), importlib.import_module(self.module))
            return make(thing, self.values)
        except Exception as error:
            raise UsageError(f"{self.given}: cannot be loaded: {type(error).__name__}: {error}") from error


def is_named_object(text: str) -> bool:
    """Tells whether a text is written as a named object is."""
    return _SPELLED.fullmatch(text) is not None


def named_object(flag: str, text: str, example: str, syntax: str = SYNTAX) -> NamedObject:
    """Reads the value of a flag. Values are Python's literals: no code is run for them.

    Args:
      flag: with its dashes, for errors.
      text: what the user gave.
      example: of what the flag takes, for errors.
      syntax: of that, for errors.

    Raises:
      UsageError: it is written in another way, or what is in brackets are no plain values.
    """
    given = f"{flag} {text}"
    found = _SPELLED.fullmatch(text)
    if found is None:
        raise UsageError(f"{given}: write it as {syntax}, such as {example}")
    name = found["name"].strip() if found["name"] else None
    values = _values(given, found["values"]) if found["values"] else None
    return NamedObject(given, found["module"], found["object"], name, values)


def made(thing: Any, values: Values | None) -> Any:
    """Calls a function or class with the values; without values, makes an object of a class and gives anything else as
    it is."""
    if values is None:
        return thing() if isinstance(thing, type) else thing
    return thing(*values.args, **values.kwargs)


def made_object(flag: str, text: str, values: Values | None, example: str, what: str) -> Any:
    """The object that a flag names, made with the values in brackets, or with those that stood behind it.

    Args:
      flag: with its dashes, for errors.
      text: what the user gave, without the values that stood apart.
      values: those; None where none did.
      example: of what the flag takes, for errors.
      what: the kind of thing, with its article, for errors.

    Raises:
      UsageError: there is no such thing, or it cannot be made so.
    """
    named = named_object(flag, text, example, SYNTAX.removeprefix("[NAME=]"))
    if named.name is not None:
        raise UsageError(f"{named.given}: {what} has a name of its own: leave out {named.name}=")
    return named.load(lambda thing, own: made(thing, own if values is None else values))


_APART = re.compile(r"([^\s{(]+)(\s*\{.*|\s+[^\W\d]\w*=.*)", re.DOTALL)
_PAIR = re.compile(r'\s*([^\W\d]\w*)=("(?:[^"\\]|\\.)*"(?=\s|$)|\S*)')


def values_apart(given: str, text: str, example: str) -> tuple[str, Values | None]:
    """Splits text into a name and the values behind it without brackets: a JSON object, or `key=value` pairs.

    A value of a pair is JSON, or Python's True, False or None; any other is text.

    Raises:
      UsageError: they are written in another way.
    """
    found = _APART.fullmatch(text)
    if found is None:
        return text, None
    what, rest = found[1], found[2].strip()
    if rest.startswith("{"):
        try:
            return what, Values((), dict(json_text.loads(rest)))
        except ValueError as error:
            raise UsageError(f"{given}: {rest} is no JSON object ({error})") from error
    values: dict[str, Any] = {}
    at = 0
    while at < len(rest):
        pair = _PAIR.match(rest, at)
        if pair is None:
            raise UsageError(f"{given}: write arguments as key=value, such as {example}")
        if pair[1] in values:
            raise UsageError(f"{given}: {pair[1]} is given twice")
        values[pair[1]], at = _plain(pair[2]), pair.end()
    return what, Values((), values)


_CONSTANTS = {"True": True, "False": False, "None": None}


def _plain(text: str) -> Any:
    if text in _CONSTANTS:  # as text each would be true
        return _CONSTANTS[text]
    try:
        return json_text.loads(text)
    except ValueError:
        return text


def _values(given: str, brackets: str) -> Values:
    try:
        call = ast.parse(f"object{brackets}", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise ValueError(brackets)
        kwargs = {one.arg: ast.literal_eval(one.value) for one in call.keywords if one.arg is not None}
        if len(kwargs) != len(call.keywords):
            raise ValueError(brackets)
        return Values(tuple(map(ast.literal_eval, call.args)), kwargs)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise UsageError(
            f"{given}: {brackets} does not hold plain values, such as (4, 0.5, 'text', name=True, sizes=[1, 2])"
        ) from error
