"""Paths as callers of the library give them: text, or an object that stands for a path."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from beam_curator.errors import UsageError

_WAS_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/[^/]")
"""Matches the text of `pathlib.Path("gs://bucket/a")`: a local directory called "gs:"."""


def path_text(given: Any, what: str) -> str:
    """A path or url that a caller gave, as text; it may be empty.

    Args:
      given: text, or a path object such as `pathlib.Path`.
      what: name of the argument, for messages.

    Raises:
      UsageError: it is neither text nor a path object, or is a path object that was made of a url.
    """
    text = os.fspath(given) if isinstance(given, (str, os.PathLike)) else None
    if not isinstance(text, str):
        raise _no_path(given, what)
    if not isinstance(given, str) and _WAS_URL.match(text):
        raise UsageError(f"{what}={given!r}: a path object has one slash where a url has two: give the url as text")
    return text


def at_home(path: str) -> str:
    """The path with `~` or `~user` as that home directory, which no shell has written out between quotes, and a
    url of a local file as its path."""
    if path.startswith("file://"):
        return path.removeprefix("file://")
    return os.path.expanduser(path) if path.startswith("~") else path  # noqa: PTH111 (pathlib raises)


def path_texts(given: Any, what: str) -> list[str]:
    """The texts of one path, or of an iterable of several.

    Raises:
      UsageError: as `path_text`, for any of them.
    """
    several = isinstance(given, Iterable) and not isinstance(given, (str, bytes, bytearray, os.PathLike, Mapping))
    return [path_text(one, what) for one in (given if several else [given])]


def named(given: Any, what: str) -> str:
    """The text of one path, with `~` written out as `at_home` does.

    Raises:
      UsageError: as `path_text`, and for an empty one.
    """
    text = path_text(given, what)
    if not text:
        raise _no_path(given, what)
    return at_home(text)


def named_if_any(given: Any, what: str) -> str | None:
    """Makes a name of a given path as `named` does; None for None."""
    return None if given is None else named(given, what)


def _no_path(given: Any, what: str) -> UsageError:
    return UsageError(f"{what}={given!r}: a path or url is wanted")
