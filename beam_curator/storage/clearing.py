"""Removes what an output directory is left with: half-written files of killed attempts, and empty directories."""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
from collections.abc import Collection, Iterable, Iterator

from beam_curator.storage import directories, files, urls
from beam_curator.storage.read_ahead import prefetched
from beam_curator.storage.temporary_names import LEASE, TEMPORARY, final_name

_DELETIONS_AT_ONCE = 8
"""So many requests that delete a thousand objects are under way: a bucket answers each in a second or more."""


def remove_temporaries(output: str, names: Collection[str] | None = None) -> None:
    """Removes half-written files that killed or failed attempts left under `_tmp`.

    Args:
      output: the output directory.
      names: names of the files that were to be written; None for all.

    Raises:
      StorageError: when they cannot be listed or deleted, after retries.
    """
    directory = urls.join(output, TEMPORARY)

    def is_meant(name: str) -> bool:
        return name != LEASE and (names is None or final_name(name) in names)

    if urls.is_remote(output):
        meant = (urls.join(directory, name) for name in directories.iter_files(directory) if is_meant(name))
        for _ in prefetched(files.delete, _packs(meant), _DELETIONS_AT_ONCE):
            pass  # a killed job may have left a piece of each range
    elif pathlib.Path(directory).is_dir():
        for pack in _packs(str(path) for path in pathlib.Path(directory).iterdir() if is_meant(path.name)):
            files.delete(pack)
        remove_temporary_directory(output)


def _packs(paths: Iterable[str]) -> Iterator[list[str]]:
    paths = iter(paths)
    while pack := list(itertools.islice(paths, files.DELETED_AT_ONCE)):
        yield pack


def remove_temporary_directory(output: str) -> None:
    """Removes the directory for temporary files, if there is one and nothing in it."""
    if not urls.is_remote(output):
        with contextlib.suppress(OSError):
            pathlib.Path(output, TEMPORARY).rmdir()


def remove_empty_directories(directory: str) -> None:
    """Removes a local directory and those in it, as far as nothing is in them; buckets have none."""
    if urls.is_remote(directory):
        return
    for path, _, _ in os.walk(directory, topdown=False):
        with contextlib.suppress(OSError):
            pathlib.Path(path).rmdir()
