"""Turns what --input says into files, local or in a bucket: those that are there, and what is missing."""

from __future__ import annotations

import dataclasses
import functools
import os.path
from collections.abc import Callable, Iterator, Sequence

from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.filesystems import FileSystems

from beam_curator.errors import StorageError, UsageError
from beam_curator.first_few import listed
from beam_curator.sources import local_matching
from beam_curator.sources.local_matching import Missing, find_local
from beam_curator.sources.patterns import (
    MAX_NAMES,
    SHARD_ENDINGS,
    ending_told,
    is_below,
    is_glob,
    is_shard_name,
    lines_of,
    list_of,
    plain_prefix,
    split_joined,
    url_matcher,
    written_out,
)
from beam_curator.storage import files, open_files, urls
from beam_curator.storage.buckets import listing
from beam_curator.storage.buckets.bucket import Bucket
from beam_curator.storage.buckets.services import bucket_of
from beam_curator.storage.retrying import naming, retried

SHOWN = 5
"""So many patterns are named in a message."""

MAX_LIST_BYTES = 256 << 20


@dataclasses.dataclass(frozen=True)
class Found:
    """The files that patterns match.

    Attributes:
      files: the files, each once, sorted by their urls.
      missing: what the patterns name and is not there, in the order of the patterns.
    """

    files: list[FileMetadata]
    missing: list[Missing]


def named_patterns(patterns: Sequence[str]) -> list[str]:
    """The patterns without lists, `::` and `~`, which mean something on this machine alone.

    A relative name in a list is one beside the list.

    Raises:
      UsageError: for a list that cannot be read, or a url that is not read.
    """
    named: list[str] = []
    for pattern in patterns:
        url = list_of(pattern)
        named += _as_it_is_or(split_joined, pattern) if url is None else _listed(url)
    return named


def _as_it_is_or(taken_apart: Callable[[str], list[str]], pattern: str) -> list[str]:
    """Takes a pattern apart, unless a local file has exactly this name: then the file is meant."""
    exists = not urls.is_remote(pattern) and os.path.lexists(pattern)
    return [pattern] if exists else taken_apart(pattern)


def _listed(url: str) -> list[str]:
    """The patterns in a list, each as seen from here."""
    try:
        with files.open_for_reading(url) as file:
            text = open_files.read_at_most(file, MAX_LIST_BYTES).decode("utf-8-sig")
    except StorageError as error:
        raise UsageError(f"--input @{url}: {error}") from error
    except UnicodeDecodeError:
        raise UsageError(f"--input @{url}: is not a list of names: it holds bytes that are not UTF-8") from None
    lines = lines_of(text)
    if not lines:
        raise UsageError(f"--input @{url}: the list names nothing: write one pattern on each line")
    patterns: list[str] = []
    for line in lines:
        if list_of(line) is not None:
            raise UsageError(f"--input @{url}: names another list ({line}): give each list its own --input")
        beside = [_beside(url, part) for part in split_joined(line)]
        patterns += beside
    return patterns


def _beside(url: str, pattern: str) -> str:
    """A pattern in a list, relative to the list's directory."""
    if urls.is_remote(pattern) or pattern.startswith("/"):
        return pattern
    return url[: url.rfind("/") + 1] + pattern


def expand_patterns(patterns: Sequence[str]) -> list[str]:
    """Expands patterns into the names, globs and directories that they stand for; a directory ends with a slash.

    Raises:
      UsageError: where lists cannot be read, or braces stand for more than `MAX_NAMES` names.
    """
    names: list[str] = []
    for pattern in named_patterns(patterns):
        names += _as_it_is_or(functools.partial(written_out, limit=MAX_NAMES - len(names)), pattern)
    return [f"{name.rstrip('/')}/" if _is_directory(name) else name for name in names]


def _is_directory(name: str) -> bool:
    return name.endswith("/") or (not urls.is_remote(name) and os.path.isdir(name))  # noqa: PTH112 (pathlib raises)


def find(patterns: Sequence[str], endings: tuple[str, ...] = SHARD_ENDINGS) -> Found:
    """Finds the files that patterns match, and what is missing.

    Args:
      patterns: names, globs, directories, braces and lists.
      endings: how the files of a directory end that are shards, in lower case.

    Raises:
      UsageError: for a pattern that cannot be one.
      StorageError: where storage cannot be listed.
    """
    names = list(dict.fromkeys(expand_patterns(patterns)))
    found: dict[str, FileMetadata] = {}
    missing: dict[str, list[Missing]] = {}
    with naming("list", listed(patterns, SHOWN)):
        matched = retried(_matched)(names, endings)
    for name in names:
        here, lacking = matched[name]
        found |= {file.path: file for file in here}
        missing[name] = lacking
    return Found([found[path] for path in sorted(found)], [one for name in names for one in missing[name]])


def match_files(patterns: Sequence[str]) -> list[FileMetadata]:
    """The files that the patterns match, each once, in the order of their urls; as `find` does, whatever is missing."""
    return find(patterns).files


@retried
def find_below(directory: str) -> Found:
    """Finds all files in a directory at any depth, in the order of their urls, and what cannot be read of them.

    Hidden files are left out, and the output directories of jobs, unless it is one itself.

    Raises:
      StorageError: where storage cannot be listed, after retries.
    """
    if not urls.is_remote(directory):
        return Found(*local_matching.find_below(directory))
    prefix = f"{directory.rstrip('/')}/"
    with naming("list", directory):
        found = sorted(_everything(bucket_of(prefix), prefix), key=lambda file: file.path)
    return Found(_without_outputs([file for file in found if is_below(file.path, prefix)], prefix), [])


def _without_outputs(found: Sequence[FileMetadata], directory: str) -> list[FileMetadata]:
    """The files below a directory that are in no output directory of a job below it."""
    ending = f"/{local_matching.JOB}"
    outputs = tuple(file.path[: -len(ending) + 1] for file in found if file.path.endswith(ending))
    inner = tuple(output for output in outputs if output != directory)
    return [file for file in found if not (inner and file.path.startswith(inner))]


def _everything(bucket: Bucket | None, prefix: str) -> list[FileMetadata]:
    return list(bucket.list(prefix) if bucket is not None else _by_beam([f"{prefix}**"]))


def _matched(names: Sequence[str], endings: tuple[str, ...]) -> dict[str, tuple[list[FileMetadata], list[Missing]]]:
    """Finds, for each name, glob or directory, what it matches and what is missing."""
    matched = {name: find_local(name, endings) for name in names if not urls.is_remote(name)}
    services: dict[Bucket | None, list[str]] = {}
    for name in names:
        if urls.is_remote(name):
            services.setdefault(bucket_of(name), []).append(name)
    for bucket, some in services.items():
        for name, here in _in_storage(bucket, some, endings).items():
            matched[name] = here, [] if here else [Missing(name, _why_nothing(name, endings))]
    return matched


def _why_nothing(name: str, endings: tuple[str, ...]) -> str:
    if name.endswith("/"):
        return f"nothing in it is named like {ending_told(endings)}"
    return "matches no object" if is_glob(name) else "there is no such object; a directory ends with a slash"


def _in_storage(bucket: Bucket | None, names: Sequence[str], endings: tuple[str, ...]) -> dict[str, list[FileMetadata]]:
    """Finds what each of these urls matches; what several of them may match is listed once."""
    matched: dict[str, list[FileMetadata]] = {name: [] for name in names}
    plain = [name for name in names if not is_glob(name) and not name.endswith("/")]
    for file in listing.named(bucket, plain) if bucket is not None else _by_beam(plain):
        matched[file.path].append(file)
    patterns = [name for name in names if name not in set(plain)]
    for prefix in dict.fromkeys(map(plain_prefix, patterns)):
        every = _everything(bucket, prefix)
        for name in patterns:
            if plain_prefix(name) == prefix:
                matches = url_matcher(name, endings)
                matched[name] = [file for file in every if matches(file.path)]
            if name == prefix and name.endswith("/") and not matched[name]:
                below = _without_outputs([file for file in every if is_below(file.path, name)], name)
                matched[name] = [file for file in below if is_shard_name(file.path.rpartition("/")[2], endings)]
    return matched


def _by_beam(globs: Sequence[str]) -> Iterator[FileMetadata]:
    """Yields what globs match on a file system that is neither local nor one of our buckets."""
    for result in FileSystems.match(list(globs)):
        yield from result.metadata_list
