"""A rule as text: `aesthetic >= 5`, `nsfw < 0.5`, `json.similarity >= 0.3`, `256 <= width <= 4096`.

So is `aspect_ratio <= 3`.
"""

from __future__ import annotations

import re

from beam_curator.errors import UsageError
from beam_curator.rules.column_rules import AspectRatioAtMost, AtLeast, Below, Between, ColumnRule

_NUMBER = r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
_COLUMN = r"((?:json\.)?[^\W\d]\w*)"
_TWO = re.compile(rf"\s*{_COLUMN}\s*(>=|<=|<|>|==|=|!=)\s*{_NUMBER}\s*")
_THREE = re.compile(rf"\s*{_NUMBER}\s*<=\s*{_COLUMN}\s*<=\s*{_NUMBER}\s*")
_ASPECT_RATIO = "aspect_ratio"


def rule_of(text: str) -> ColumnRule:
    """The rule that keeps what the comparison is true of. It is read, not run as code.

    Args:
      text: `COLUMN >= NUMBER`, `COLUMN < NUMBER`, `NUMBER <= COLUMN <= NUMBER`, or `aspect_ratio <= NUMBER`.

    Raises:
      UsageError: for any other text, and for a limit that the rule does not take.
    """
    three = _THREE.fullmatch(text)
    if three and three[2] != _ASPECT_RATIO:
        return Between(three[2], float(three[1]), float(three[3]))
    two = _TWO.fullmatch(text)
    if two is None:
        raise UsageError(f'rule "{text}": {_SYNTAX}')
    column, sign, limit = two[1], two[2], float(two[3])
    if column == _ASPECT_RATIO:
        if sign == "<=":
            return AspectRatioAtMost(limit)
        raise UsageError(f'rule "{text}": write {_ASPECT_RATIO} <= {two[3]}')
    if sign == ">=":
        return AtLeast(column, limit)
    if sign == "<":
        return Below(column, limit)
    raise UsageError(f'rule "{text}": there is no {sign} for a column: {_SYNTAX}')


_SYNTAX = "write COLUMN >= NUMBER, COLUMN < NUMBER, NUMBER <= COLUMN <= NUMBER or aspect_ratio <= NUMBER"
