"""Reads a member's name as WebDataset does: key and extension, and which members are passed over."""

from __future__ import annotations

import re

# The format itself: the key goes up to the first dot of the base name, the extension is all that follows.
_KEY_AND_EXTENSION = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)$")

_META = re.compile(r"__[^/]*__($|/)")

_DOT_FILE = re.compile(r"(?:.*/)?\.[^/]*$", re.DOTALL)

APPLE_DOUBLE, DOT_FILE = "AppleDouble file", "dot file"

META_NAME, NO_DOT = "__meta__ name", "name without a dot"


def split_name(name: str) -> tuple[str, str] | None:
    """Key and lower-cased extension of a member, or None if it belongs to no sample: see `why_passed_over`.

    Files whose base name begins with a dot belong to none in any directory: WebDataset passes over those at the top,
    and takes those in a directory for members of a sample that is named as the directory.
    """
    if _META.match(name) or _DOT_FILE.match(name):
        return None
    match = _KEY_AND_EXTENSION.match(name)
    return (match.group(1), match.group(2).lower()) if match else None


def why_passed_over(name: str) -> str:
    """The kind of a name for which `split_name` gives None: why the member belongs to no sample."""
    if _META.match(name):
        return META_NAME
    if _DOT_FILE.match(name):
        return APPLE_DOUBLE if name.rpartition("/")[2].startswith("._") else DOT_FILE
    return NO_DOT
