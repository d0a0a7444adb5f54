"""Globs on the local file system: what matches, and what stood in the way of looking, none of it in silence."""

# ruff: noqa: PTH112, PTH114

from __future__ import annotations

import dataclasses
import glob
import os
from collections.abc import Iterator, Sequence
from os.path import isdir, islink, lexists  # unlike pathlib's, they raise nothing where permission is missing

from apache_beam.io.filesystem import FileMetadata

from beam_curator.first_few import counted
from beam_curator.sources.patterns import (
    BELOW,
    ending_told,
    is_glob,
    is_shard_name,
    literal_directory,
    segment_matches,
    segments_of,
)

_FileId = tuple[int, int]

JOB = "job.json"
"""The file that stands in the output directory of every job."""


@dataclasses.dataclass(frozen=True, order=True)
class Missing:
    """Something that was asked for and is not there, or cannot be read.

    Attributes:
      name: a pattern, or the path of a file or directory.
      reason: what is wrong with it.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name if self.name.isprintable() else repr(self.name)} ({self.reason})"


def find_local(name: str, endings: tuple[str, ...]) -> tuple[list[FileMetadata], list[Missing]]:
    """The files that a path, a glob or a directory names, and what is missing of them.

    What is there under exactly this name is meant by it, whatever globbing makes of its characters. A directory stands
    for the files in it that are named like shards, and where there are none, for those at any depth below it. Links are
    followed; each directory is entered once.

    Args:
      name: that.
      endings: how the files of a directory end that are shards, in lower case.
    """
    missing: list[Missing] = []
    if isdir(name) or (name.endswith("/") and is_glob(name)):
        found = sorted(set(_shards_in(name, missing, endings)))
    elif lexists(name) or not is_glob(name):
        found = [name]
    else:
        found = sorted(set(_globbed(name, missing)))
    files = [one for one in (_looked_at(path, missing) for path in found) if one is not None]
    if not files and not missing:
        missing.append(Missing(name, _why_nothing(name, endings)))
    return files, missing


def find_below(directory: str) -> tuple[list[FileMetadata], list[Missing]]:
    """Finds all files in a directory at any depth, in the order of their paths, and what cannot be read of them.

    Hidden files and directories are left out, and the output directories of jobs, unless it is one itself.
    """
    missing: list[Missing] = []
    looked_at = (_looked_at(path, missing) for path in sorted(_below(directory.rstrip("/") or "/", missing, set())))
    return [one for one in looked_at if one is not None], missing


def _below(directory: str, missing: list[Missing], entered: set[_FileId], top: bool = True) -> Iterator[str]:
    identity = _file_id(directory)
    if identity is None or identity in entered:
        return
    entered.add(identity)
    entries = _entries(directory, missing)
    if not top and any(entry.name == JOB for entry in entries):
        return
    for entry in sorted(entries, key=lambda entry: entry.is_symlink()):
        if entry.name.startswith("."):
            continue
        path = _joined(directory, entry.name)
        if isdir(path):
            yield from _below(path, missing, entered, top=False)
        else:
            yield path


def _looked_at(path: str, missing: list[Missing]) -> FileMetadata | None:
    """Finds the size and time of last change of a file; None, and what is missing, where it cannot be read."""
    try:
        status = os.stat(path)  # noqa: PTH116 (a Path would change how the user wrote it)
    except OSError as error:
        link = islink(path)
        missing.append(Missing(path, "a link to nothing" if link else (error.strerror or str(error)).lower()))
        return None
    if not os.access(path, os.R_OK):
        missing.append(Missing(path, "permission denied"))
        return None
    return FileMetadata(path, status.st_size, status.st_mtime)


def _shards_in(name: str, missing: list[Missing], endings: tuple[str, ...]) -> Iterator[str]:
    directories = [name] if isdir(name) else _globbed(name.rstrip("/"), missing, directories=True)
    for directory in directories:
        named = [entry.name for entry in _entries(directory, missing) if is_shard_name(entry.name, endings)]
        for path in (_joined(directory, one) for one in named):
            yield from _no_directory(path, isdir(path), missing)
        if not named and isdir(name):
            below = _below(directory.rstrip("/") or "/", missing, set())
            yield from (path for path in below if is_shard_name(path.rpartition("/")[2], endings))


def _globbed(glob: str, missing: list[Missing], directories: bool = False) -> Iterator[str]:
    for segments in segments_of(glob):
        yield from _walk(literal_directory(glob), segments, missing, directories, set())


def _walk(
    base: str, segments: Sequence[str], missing: list[Missing], directories: bool, entered: set[_FileId]
) -> Iterator[str]:
    """The files below a directory (or the directories) that the segments match."""
    segment, rest = segments[0], segments[1:]
    if segment == BELOW:
        yield from _walk_below(base, rest, missing, directories, entered)
        return
    literal = _joined(base, segment)
    if not is_glob(segment) or lexists(literal):
        names = [segment] if lexists(literal) else []
    else:
        names = [entry.name for entry in _entries(base, missing) if segment_matches(entry.name, segment)]
    for path in (_joined(base, name) for name in names):
        is_directory = isdir(path)
        if not rest and directories:
            yield from [path] if is_directory else []
        elif not rest:
            yield from _no_directory(path, is_directory, missing)
        elif is_directory:
            yield from _walk(path, rest, missing, directories, set())


def _no_directory(path: str, is_directory: bool, missing: list[Missing]) -> list[str]:
    """The path of what a pattern matches. A directory is none, and called like a shard it is missing."""
    if is_directory and is_shard_name(path.rpartition("/")[2]):
        told = Missing(path, "a directory, not a file")
        missing.extend([] if told in missing else [told])
    return [] if is_directory else [path]


def _walk_below(
    base: str, rest: Sequence[str], missing: list[Missing], directories: bool, entered: set[_FileId]
) -> Iterator[str]:
    """Walks a directory and all below it, as `_walk` does; one that several links lead to is entered once, without a
    loop."""
    identity = _file_id(base or ".")
    if identity is None or identity in entered:
        return
    entered.add(identity)
    yield from _walk(base, rest, missing, directories, set())
    below = [entry for entry in _entries(base, missing) if not entry.name.startswith(".") and isdir(entry.path)]
    for entry in sorted(below, key=lambda entry: entry.is_symlink()):
        yield from _walk_below(_joined(base, entry.name), rest, missing, directories, entered)


def _file_id(directory: str) -> _FileId | None:
    try:
        status = os.stat(directory)  # noqa: PTH116
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _entries(directory: str, missing: list[Missing]) -> list[os.DirEntry[str]]:
    """Lists a directory, in order; [] where there is none. One that cannot be listed is added to `missing`."""
    try:
        with os.scandir(directory or ".") as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        unreadable = Missing(directory, f"cannot be listed: {(error.strerror or str(error)).lower()}")
        missing.extend([] if unreadable in missing else [unreadable])
        return []


def _joined(directory: str, name: str) -> str:
    return f"{directory}{'' if not directory or directory.endswith('/') else '/'}{name}"


def _why_nothing(name: str, endings: tuple[str, ...]) -> str:
    """Says why a glob or a directory names no file."""
    directory = name if isdir(name) else literal_directory(name)
    if not isdir(directory or "."):
        return f"there is no directory {directory}"
    if isdir(name):
        names = [entry.name for entry in _entries(name, []) if not isdir(entry.path)]
        files = "no files" if not names else f"{counted(len(names), 'file')}, such as {names[0]}, but none"
        return f"the directory holds {files}{' that is' if names else ''} named like {ending_told(endings)}"
    inside = next((one for one in sorted(glob.glob(name)) if isdir(one)), None)  # noqa: PTH207 (keeps the spelling)
    return "matches no file" if inside is None else f"matches no file, but directories, such as {inside}: name these"
