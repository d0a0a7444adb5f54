"""Knows between which bounds the values of a column lie: a limit on another scale is a mistake, found before any
work."""

from __future__ import annotations

import dataclasses

from beam_curator.errors import UsageError
from beam_curator.images import MAX_IMAGE_PIXELS
from beam_curator.rules.column_rules import AtLeast, Below, Between
from beam_curator.rules.rule import Rule


@dataclasses.dataclass(frozen=True)
class Scale:
    """The least and the greatest value, and whether that is no more than about so."""

    least: float
    greatest: float
    about: bool = False

    def __str__(self) -> str:
        return f"go from {'about ' if self.about else ''}{self.least:g} to {self.greatest:,}"


AESTHETIC_SCALE = Scale(0, 10, about=True)
NSFW_SCALE = Scale(0, 1)
SIDE_SCALE = Scale(1, MAX_IMAGE_PIXELS)


def check_scale(what: str, rule: Rule, scale: Scale) -> None:
    """Raises UsageError for a rule that no value of the scale passes, or whose limit is on another scale.

    A limit a little above the scale, and any below it, is how one says that all shall pass.

    Args:
      what: what the user calls the rule.
      rule: `AtLeast`, `Below` or `Between`; others are not looked at.
      scale: of its column.
    """
    low, high = float("-inf"), float("inf")
    if isinstance(rule, AtLeast):
        low, passes_none = rule.minimum, rule.minimum > scale.greatest
    elif isinstance(rule, Below):
        high, passes_none = rule.limit, rule.limit <= scale.least
    elif isinstance(rule, Between):
        low, high = rule.minimum, rule.maximum
        passes_none = low > scale.greatest or high < scale.least
    else:
        return
    told = f"{rule.column} values {scale}"
    if passes_none:
        raise UsageError(f"{what} would drop every sample: {told}")
    if low <= scale.least and scale.least + 2 * (scale.greatest - scale.least) < high < float("inf"):
        raise UsageError(f"{what} would keep every sample: {told}")
