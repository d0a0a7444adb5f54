"""What directories hold, wherever Beam reaches them; in a bucket, a directory is how names begin."""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
import re
from collections.abc import Iterator

from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.localfilesystem import LocalFileSystem

from beam_curator.storage import files, urls
from beam_curator.storage.buckets import listing
from beam_curator.storage.buckets.bucket import Bucket
from beam_curator.storage.buckets.services import bucket_of
from beam_curator.storage.retrying import naming, retried
from beam_curator.storage.temporary_names import TEMPORARY, is_half_written

_NAMES_A_REQUEST = 1000


@retried
def list_files(directory: str, pattern: str = "*") -> list[FileMetadata]:
    """The files of a directory whose names match one of Beam's globs; an absent directory has none.

    Raises:
      StorageError: when it cannot be listed, after retries.
    """
    with naming("list", directory):
        if urls.is_remote(directory):
            matched: Iterator[FileMetadata] = _match_remote(urls.join(_literal(directory), pattern))
        else:
            matched = _match_local(directory, pattern)
        inside = [metadata for metadata in matched if metadata.path.startswith(directory)]
    return sorted(inside, key=lambda metadata: metadata.path)


def _match_local(directory: str, pattern: str) -> Iterator[FileMetadata]:
    """Lists as `list_files` does, in a local directory. Beam's listing would look through all that is below it; and
    where its path is relative and begins with a character of globs, it would find nothing."""
    matches = re.compile(LocalFileSystem.translate_pattern(pattern)).match
    for name in iter_files(directory, below="/" in pattern or "**" in pattern):
        if matches(name):
            path = urls.join(directory, name)
            with contextlib.suppress(FileNotFoundError):  # it went meanwhile
                found = os.stat(path)  # noqa: PTH116 (as in `urls.join`)
                yield FileMetadata(path, found.st_size, found.st_mtime)


def iter_files(directory: str, below: bool = False) -> Iterator[str]:
    """Yields the names of a directory's files, in no order: there may be more than fit in memory.

    Args:
      directory: the directory; an absent one has no files.
      below: whether to go into directories below it as well; names then have "/" in them.

    Raises:
      StorageError: when it cannot be listed, after retries.
    """
    if urls.is_remote(directory):
        yield from _iter_remote(f"{directory.rstrip('/')}/", below)
        return
    absent = contextlib.suppress(FileNotFoundError, NotADirectoryError)
    with naming("list", directory), absent, os.scandir(directory or ".") as entries:
        for entry in entries:
            if not entry.is_dir():
                yield entry.name
            elif below:
                yield from (f"{entry.name}/{name}" for name in iter_files(entry.path, below=True))


def _iter_remote(prefix: str, below: bool) -> Iterator[str]:
    bucket = bucket_of(prefix)
    if bucket is None:
        yield from (found.path[len(prefix) :] for found in list_files(prefix, "**" if below else "*"))
        return
    last = ""
    while page := _page(bucket, prefix, below, last):
        yield from (url[len(prefix) :] for url in page if not url.endswith("/"))
        last = page[-1]


@retried
def _page(bucket: Bucket, prefix: str, below: bool, after: str) -> list[str]:
    """The urls of the next objects, as many as one request tells."""
    with naming("list", prefix):
        listed = (found.path for found in bucket.list(prefix, below, after) if found.path > after)
        return list(itertools.islice(listed, _NAMES_A_REQUEST))


def is_there(path: str) -> bool:
    """Tells whether a file or directory exists; elsewhere than locally, a directory does if there is anything in it.

    Raises:
      StorageError: when it cannot be looked for, after retries.
    """
    if not urls.is_remote(path):
        return pathlib.Path(path).exists()
    return files.exists(path) or not is_empty(path)


@retried
def is_empty(directory: str) -> bool:
    """Tells whether a directory holds nothing, at any depth, but half-written files of a job that was killed.

    Raises:
      StorageError: when it cannot be listed, after retries.
    """
    with naming("list", directory):
        return all(is_half_written(name) for name in _names_in(directory))


def _names_in(directory: str) -> Iterator[str]:
    """Yields the names in a directory, and in its directory for temporary files; in a bucket, of all objects below."""
    bucket = bucket_of(directory)
    prefix = f"{directory.rstrip('/')}/"
    if bucket is not None:
        yield from (found.path[len(prefix) :] for found in bucket.list(prefix) if found.path != prefix)
    elif urls.is_remote(directory):
        yield from (found.path[len(prefix) :] for found in _match_remote(f"{_literal(prefix)}**"))
    elif pathlib.Path(directory).is_dir():
        for path in pathlib.Path(directory).iterdir():
            inside = path.name == TEMPORARY and path.is_dir() and not path.is_symlink()
            yield from (f"{TEMPORARY}/{half.name}" for half in path.iterdir()) if inside else (path.name,)


def _match_remote(glob: str) -> Iterator[FileMetadata]:
    """Yields what one of Beam's globs matches elsewhere than on this machine."""
    bucket = bucket_of(glob)
    if bucket is not None:
        yield from listing.match(bucket, glob)
        return
    for result in FileSystems.match([glob]):
        yield from result.metadata_list


def _literal(path: str) -> str:
    """A pattern that matches this path: Beam has no way to quote a character that globbing takes for its own."""
    return re.sub(r"[\[*?]", "?", path)
