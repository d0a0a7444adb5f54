"""How WebDataset reads a member's name: key and extension, and which members it passes over."""

from __future__ import annotations

import re

# The format itself: the key goes up to the first dot of the base name, the extension is all that follows.
_KEY_AND_EXTENSION = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)$")
_META = re.compile(r"__[^/]*__($|/)")


def split_name(name: str) -> tuple[str, str] | None:
    """Key and lower-cased extension of a member, or None if it belongs to no sample (no dot, or `__meta__`)."""
    if _META.match(name):
        return None
    match = _KEY_AND_EXTENSION.match(name)
    return (match.group(1), match.group(2).lower()) if match else None


def readable(text: str) -> str:
    r"""Text that UTF-8 can hold: bytes of a name that were not UTF-8 are shown as \xNN."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
