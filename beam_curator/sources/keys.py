"""Keys of samples that are files: readable, unique, and without the dots at which WebDataset would end them."""

from __future__ import annotations

import collections
import re
from collections.abc import Sequence

from beam_curator.samples import readable

_BEFORE = re.compile(r"^(?:[A-Za-z][A-Za-z0-9+.-]*://)?(?:\.{0,2}/)*")
_AFTER = re.compile(r"[?#].*$", re.DOTALL)


def unique_keys(names: Sequence[str]) -> list[str]:
    """A key for each of these paths or urls: the path without its extension, with "_" for the dots of its last part.

    Where several have the same, they keep their extensions; where these are the same too, later ones are numbered.
    """
    plain = [_key(name, with_extension=False) for name in names]
    counts = collections.Counter(plain)
    wanted = [
        key if counts[key] == 1 else _key(name, with_extension=True) for name, key in zip(names, plain, strict=True)
    ]
    return unique(wanted)


def unique(names: Sequence[str]) -> list[str]:
    """The names, numbered from ~2 where they come again; in time that grows with their number, however often one
    comes."""
    taken: set[str] = set()
    next_of: dict[str, int] = {}
    found = []
    for name in names:
        one, number = name, next_of.get(name, 2)
        while one in taken:
            one, number = f"{name}~{number}", number + 1
        next_of[name] = number
        taken.add(one)
        found.append(one)
    return found


def _key(name: str, with_extension: bool) -> str:
    path = _BEFORE.sub("", name)
    path = _AFTER.sub("", path) if "://" in name else path
    directory, slash, base = readable(path).rpartition("/")
    stem, dot, _ = base.rpartition(".")
    kept = base if with_extension or not dot or not stem else stem
    return f"{directory}{slash}{kept.replace('.', '_') or '_'}"
