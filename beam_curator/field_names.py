"""Names of the columns that hold fields of samples' metadata, and the choice among these fields."""

from __future__ import annotations

from collections.abc import Sequence

PREFIX = "json."
"""Prefix of the columns of fields, so that none has the name of one of our own columns."""

URL_DOMAIN = "url_domain"
"""The column with the host of a sample's url."""

ALL = "all"
NONE = "none"


def is_field(name: str) -> bool:
    """Tells whether a column holds a field of the samples' metadata."""
    return name.startswith(PREFIX) or name == URL_DOMAIN


def is_carried(column: str, carry: Sequence[str]) -> bool:
    """Tells whether the field in this column is among those that `Reading.carry` chooses."""
    if tuple(carry) == (ALL,):
        return True
    return _URL in carry if column == URL_DOMAIN else column.removeprefix(PREFIX) in carry


_URL = "url"
