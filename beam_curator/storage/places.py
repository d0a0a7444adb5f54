"""Whether a file lies in a directory, on any spelling: relative, through links, with slashes to spare; and whether what
lies there is a file."""

from __future__ import annotations

import os
import pathlib
import re
import stat
from collections.abc import Iterable, Iterator

from beam_curator.storage import urls


def real(url: str) -> str:
    """The same text for the same place: a local path without links, `.` and `..`; a url without slashes at its end."""
    if urls.is_remote(url):
        scheme, _, rest = url.partition("://")
        return f"{scheme}://{rest.rstrip('/')}"
    return os.path.realpath(url)


def is_special(url: str) -> bool:
    """Tells whether a pipe, a socket or a device stands at a local path: it would be waited for, or read, without
    end."""
    if urls.is_remote(url):
        return False
    try:
        mode = os.stat(url).st_mode  # noqa: PTH116 (a Path would change how the user wrote it)
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def below(file: str, directory: str) -> str | None:
    """Gives the path of a file under a directory, at any depth; None if it does not lie in it."""
    within, place = real(directory), real(file)
    if place == within:
        return ""
    if place.startswith(within.rstrip("/") + "/"):
        return place[len(within.rstrip("/")) + 1 :]
    if urls.is_remote(file) or urls.is_remote(directory):
        return None
    # A disk may know a directory by other names: another case of letters, another mount.
    for parent, name in _parents(pathlib.Path(place)):
        if _is_same(parent, within):
            return name
    return None


def all_below(paths: Iterable[str], directory: str) -> Iterator[tuple[str, str]]:
    """The files among these that lie in a directory, each with what it is called there; of a million in a bucket each
    takes no more than a look at how its url begins.

    Args:
      paths: paths and urls of files.
      directory: local, or in a bucket.
    """
    if not urls.is_remote(directory):
        here = ((file, None if urls.is_remote(file) else below(file, directory)) for file in paths)
        yield from ((file, name) for file, name in here if name is not None)
        return
    within = real(directory)
    for file in paths:
        if file.startswith(within):
            name = below(file, directory)
            if name is not None:
                yield file, name


def _parents(path: pathlib.Path) -> Iterator[tuple[pathlib.Path, str]]:
    for parent in path.parents:
        yield parent, str(path.relative_to(parent))


def _is_same(path: pathlib.Path, other: str) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False


def has_wildcard_directory(pattern: str) -> bool:
    """Tells whether a glob chooses directories too, not only names in one."""
    return re.search(r"[\[*?]", pattern.rpartition("/")[0]) is not None
