"""A scorer as the command line gives it: an installed one's name, or `package.module:Object`, with its arguments."""

from __future__ import annotations

import importlib.metadata
import json
import re
from typing import Any

from beam_curator.commands.named_object import Values, made, named_object
from beam_curator.errors import UsageError
from beam_curator.first_few import listed
from beam_curator.models.scorers.scorer import Scorer, check_scorer

ENTRY_POINTS = "beam_curator.scorers"
"""The group under which installed packages name their scorers."""

_EXAMPLE = "my_scorers:Warmth(side=64), 'my_scorers:Warmth side=64' or 'my_scorers:Warmth {\"side\": 64}'"
_PAIR = re.compile(r'\s*([^\W\d]\w*)=("(?:[^"\\]|\\.)*"(?=\s|$)|\S*)')


def load_scorer(text: str) -> Scorer:
    """The scorer that `--scorer` names: an object, or a class or function that makes one of its arguments.

    Arguments are Python's literals in brackets, a JSON object, or `key=value` pairs (a value that is no JSON is text).

    Raises:
      UsageError: there is no such thing, it cannot be made so, or it is no scorer.
    """
    given = f"--scorer {text}"
    what, values = _parts(given, text.strip())
    named = named_object("--scorer", _installed(given, what), _EXAMPLE)
    if named.name is not None:
        raise UsageError(f"{named.given}: a scorer has a name of its own: leave out {named.name}=")
    scorer = named.load(lambda thing, own: made(thing, own if values is None else values))
    check_scorer(scorer, given)
    return scorer


def _parts(given: str, text: str) -> tuple[str, Values | None]:
    """What is named, and arguments that are not in brackets."""
    found = re.match(r"([^\s{(]+)(\s*\{.*|\s+[^\W\d]\w*=.*)", text, re.DOTALL)
    if found is None:
        return text, None
    what, rest = found[1], found[2].strip()
    if rest.startswith("{"):
        try:
            return what, Values((), dict(json.loads(rest)))
        except ValueError as error:
            raise UsageError(f"{given}: {rest} is no JSON object ({error})") from error
    values: dict[str, Any] = {}
    at = 0
    while at < len(rest):
        pair = _PAIR.match(rest, at)
        if pair is None:
            raise UsageError(f"{given}: write arguments as key=value, such as {_EXAMPLE}")
        if pair[1] in values:
            raise UsageError(f"{given}: {pair[1]} is given twice")
        values[pair[1]], at = _value(pair[2]), pair.end()
    return what, Values((), values)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _installed(given: str, what: str) -> str:
    """`package.module:object` of an installed scorer's name; any other text as it is."""
    name, bracket, rest = what.partition("(")
    if ":" in name:
        return what
    points = {point.name: point.value for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}
    if name not in points:
        known = listed(sorted(points)) if points else "none is"
        raise UsageError(
            f"{given}: no installed scorer is called {name} ({known}): give package.module:Object, such as {_EXAMPLE}"
        )
    return f"{points[name]}{bracket}{rest}"
