"""A scorer as the command line gives it: an installed one's name, or `package.module:Object`, with its arguments."""

from __future__ import annotations

import importlib.metadata

from beam_curator.commands.named_object import made_object, values_apart
from beam_curator.errors import UsageError
from beam_curator.first_few import listed
from beam_curator.models.scorers.scorer import Scorer, check_scorer

ENTRY_POINTS = "beam_curator.scorers"
"""The group under which installed packages name their scorers."""

_EXAMPLE = "my_scorers:Warmth(side=64), 'my_scorers:Warmth side=64' or 'my_scorers:Warmth {\"side\": 64}'"


def load_scorer(text: str) -> Scorer:
    """The scorer that `--scorer` names: an object, or a class or function that makes one of its arguments.

    Arguments are Python's literals in brackets, a JSON object, or `key=value` pairs (see `values_apart`).

    Raises:
      UsageError: there is no such thing, it cannot be made so, or it is no scorer.
    """
    given = f"--scorer {text}"
    what, values = values_apart(given, text.strip(), _EXAMPLE)
    found = _installed(given, what)
    flag = "--scorer" if found == what else f"--scorer {what}, which is"
    scorer = made_object(flag, found, values, _EXAMPLE, "a scorer")
    check_scorer(scorer, given)
    return scorer


def _installed(given: str, what: str) -> str:
    """`package.module:object` of an installed scorer's name; any other text as it is.

    Raises:
      UsageError: no installed package, or more than one, has a scorer of that name.
    """
    name, bracket, rest = what.partition("(")
    if ":" in name:
        return what
    points = importlib.metadata.entry_points(group=ENTRY_POINTS)
    objects = sorted({point.value for point in points.select(name=name)})
    if not objects:
        known = listed(sorted(points.names)) if points else "none is"
        raise UsageError(
            f"{given}: no installed scorer is called {name} ({known}): give package.module:Object, such as {_EXAMPLE}"
        )
    if len(objects) > 1:
        raise UsageError(f"{given}: {listed(objects)} are all installed as {name}: give the one that is meant")
    return f"{objects[0]}{bracket}{rest}"
