"""Globs in buckets, and names: many in one place are looked up in one listing."""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterator, Sequence

from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.filesystems import FileSystems

from beam_curator.storage.buckets.bucket import Bucket

ASKED_ONE_BY_ONE = 16
"""More names than this in one directory are looked up in a listing: one request tells of a thousand."""


def match(bucket: Bucket, glob: str) -> Iterator[FileMetadata]:
    """The objects that one of Beam's globs matches. A "directory", an object whose name ends with a slash, is none.

    Args:
      bucket: the service that the url belongs to.
      glob: a url with `*`, `?` and `[...]`, which match within one directory, and `**`, which matches below too.
    """
    if not _is_glob(glob):
        yield from named(bucket, [glob])
        return
    prefix = _literal_prefix(glob)
    below = "/" in glob[len(prefix) :] or "**" in glob
    listed = [found for found in bucket.list(prefix, below) if not found.path.endswith("/")]
    yield from FileSystems.get_filesystem(glob).match_files(listed, glob)


def named(bucket: Bucket, names: Sequence[str]) -> Iterator[FileMetadata]:
    """The objects of these names that are there."""
    directories: dict[str, list[str]] = {}
    for name in names:
        directories.setdefault(_directory(name), []).append(name)
    for inside in directories.values():
        if len(inside) > ASKED_ONE_BY_ONE:
            wanted = set(inside)
            prefix = os.path.commonprefix(inside)  # noqa: RUF071 (not a path, but how names begin)
            yield from (found for found in bucket.list(prefix) if found.path in wanted)
        else:
            yield from filter(None, map(bucket.metadata, inside))


def _is_glob(url: str) -> bool:
    return re.search(r"[\[*?]", url) is not None


def _directory(url: str) -> str:
    return url.rpartition("/")[0]


def _literal_prefix(glob: str) -> str:
    return re.split(r"[\[*?]", glob, maxsplit=1)[0]
