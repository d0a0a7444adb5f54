"""What the columns of fields of samples' metadata are called, and which fields are chosen."""

from __future__ import annotations

from collections.abc import Sequence

PREFIX = "json."
"""What the column of a field begins with, so that none has the name of a column of ours."""

URL_DOMAIN = "url_domain"
"""The column with the host of a sample's url."""

ALL = "all"
NONE = "none"


def is_field(name: str) -> bool:
    """Whether a column is one of a sample's metadata."""
    return name.startswith(PREFIX) or name == URL_DOMAIN


def is_carried(column: str, carry: Sequence[str]) -> bool:
    """Whether a column is of the fields that are chosen: `("all",)`, or names."""
    if tuple(carry) == (ALL,):
        return True
    return _URL in carry if column == URL_DOMAIN else column.removeprefix(PREFIX) in carry


_URL = "url"
