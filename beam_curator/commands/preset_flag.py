"""Presets: selections of the field under one name, each a short file of the flags that it stands for.

Nothing heavy is imported here.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from beam_curator.errors import UsageError

FLAG = "--preset"
_FILES = Path(__file__).with_name("presets")


@dataclasses.dataclass(frozen=True)
class Preset:
    """A file of flags.

    Attributes:
      name: what the user calls it.
      flags: what it stands for, as words of a command line.
      source: where that is from.
    """

    name: str
    flags: tuple[str, ...]
    source: str

    def __str__(self) -> str:
        told = " ".join(f'"{word}"' if " " in word else word for word in self.flags)
        return f"{FLAG} {self.name} stands for {told} (after {self.source})"

    def beside(self, options: Any) -> list[str]:
        """Says, a line each, what the command asks for otherwise than the preset, which gives way.

        Args:
          options: the command's flags, the preset's among them.
        """
        told = []
        for flag, value in itertools.pairwise(self.flags):
            now = getattr(options, flag.removeprefix("--"), None) if flag.startswith("--") else None
            if now is None or isinstance(now, list) or value.startswith("--") or _plain(now) == _plain(value):
                continue
            told.append(f"{flag} {_plain(now)} takes the place of {value}, which {FLAG} {self.name} says")
        return told


def _plain(value: Any) -> str:
    """A flag's value as text, numbers with the fewest digits."""
    try:
        return f"{float(value):g}"
    except ValueError:
        return str(value)


def preset_names() -> list[str]:
    """The presets that there are."""
    return sorted(path.stem for path in _FILES.glob("*.txt"))


def read_preset(name: str) -> Preset:
    """A preset by its name.

    Raises:
      UsageError: there is none of this name.
    """
    names = preset_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
        raise UsageError(f"{FLAG} {name}: no such preset: {hint}")
    lines = (_FILES / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    source = next(line for line in lines if line.startswith("# https://")).split()[1]
    flags = [word for line in lines if not line.startswith("#") for word in shlex.split(line)]
    return Preset(name, tuple(flags), source)


def with_preset(argv: Sequence[str]) -> list[str]:
    """A command line with the flags of its preset in front, so that what else it says wins, or is added to them.

    Raises:
      UsageError: for a preset that is not there, and for a second one.
    """
    given = []
    for place, word in enumerate(argv):
        flag, is_there, value = word.partition("=")
        if flag == FLAG:
            given.append(value if is_there else argv[place + 1] if place + 1 < len(argv) else "")
    if len(given) > 1:
        raise UsageError(f"{FLAG} {given[1]}: {FLAG} {given[0]} is given as well: take one, and add flags to it")
    return [*(flag for name in given for flag in read_preset(name).flags), *argv]
