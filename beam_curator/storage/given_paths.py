"""Paths as callers of the library give them: text, or an object that stands for a path."""

from __future__ import annotations

import os
from typing import overload

from beam_curator.errors import UsageError


@overload
def named(given: None, what: str) -> None: ...


@overload
def named(given: str | os.PathLike[str], what: str) -> str: ...


def named(given: str | os.PathLike[str] | None, what: str) -> str | None:
    """A path or url as text, as a caller gave it for what is called so; None for None.

    Raises:
      UsageError: for an empty one, and for what is none.
    """
    if given is None:
        return None
    if not isinstance(given, (str, os.PathLike)) or not os.fspath(given):
        raise UsageError(f"{what}={given!r}: a path or url is wanted")
    return os.fspath(given)
