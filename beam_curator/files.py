"""Files wherever Beam reaches them (local, gs://, s3://): matching, reading, and writing that is whole or not there."""

from __future__ import annotations

import contextlib
import itertools
import logging
import pathlib
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import braceexpand
from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileMetadata
from apache_beam.io.filesystems import FileSystems
from apache_beam.utils import retry

from beam_curator.errors import UsageError

TEMPORARY = "_tmp"
"""The directory under an output directory that holds what is not whole yet."""

_PERMANENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)


def _is_transient(error: BaseException) -> bool:
    return isinstance(error, OSError) and not _is_permanent(error)


def _is_permanent(error: BaseException) -> bool:
    """Beam hides what happened in the details of a BeamIOError, or in an OSError made of the one that was raised."""
    details = (error.exception_details or {}).values() if isinstance(error, BeamIOError) else ()
    return any(isinstance(cause, _PERMANENT) for cause in (error, *error.args)) or any(map(_is_permanent, details))


retried = retry.with_exponential_backoff(num_retries=4, initial_delay_secs=0.5, factor=3, retry_filter=_is_transient)
"""Decorates what reads or writes: transient faults (`OSError`, but not missing files or permissions) are tried again
with backoff, four times over about 20 seconds."""


def is_remote(url: str) -> bool:
    """Whether this names something outside the local file system."""
    return "://" in url


def join(*parts: str) -> str:
    """The url of a file in a directory, local or in a bucket."""
    return FileSystems.join(*parts)


def open_for_reading(url: str) -> BinaryIO:
    """The file's bytes as they stand, seekable; nothing is decompressed."""
    return FileSystems.open(url, compression_type=CompressionTypes.UNCOMPRESSED)


@retried
def read_bytes(url: str) -> bytes:
    """A whole (small) file."""
    with open_for_reading(url) as file:
        return file.read()


@contextlib.contextmanager
def atomic_writer(directory: str, name: str) -> Iterator[BinaryIO]:
    """A file to write to, which appears as DIRECTORY/NAME when the block ends well, and never in part.

    It is written under `_tmp` in the same directory (one file system, so that the rename is atomic) with a name of its
    own, so that two attempts at the same file cannot meet.
    """
    final = join(directory, *name.split("/"))
    temporary = join(directory, TEMPORARY, f"{final.rsplit('/', 1)[-1]}.{uuid.uuid4().hex}")
    try:
        with FileSystems.create(temporary, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            yield file
        make_directory(final.rsplit("/", 1)[0])
        rename(temporary, final)
    except BaseException:
        with contextlib.suppress(BeamIOError, OSError):
            delete([temporary])
        raise


@retried
def rename(source: str, destination: str) -> None:
    """Gives a file its final name, over whatever has that name."""
    FileSystems.rename([source], [destination])


@retried
def write_bytes(directory: str, name: str, content: bytes) -> None:
    """Writes a whole (small) file as DIRECTORY/NAME, atomically."""
    with atomic_writer(directory, name) as file:
        file.write(content)


def make_directory(url: str) -> None:
    """Makes a directory where directories exist, with its parents."""
    if not is_remote(url) and not FileSystems.exists(url):
        with contextlib.suppress(OSError, BeamIOError):  # another worker made it first
            FileSystems.mkdirs(url)


@retried
def exists(url: str) -> bool:
    """Whether there is such a file."""
    return FileSystems.exists(url)


@retried
def list_files(directory: str, pattern: str = "*") -> list[FileMetadata]:
    """The files of a directory whose names match; an absent directory has none."""
    matched = FileSystems.match([join(_literal(directory), pattern)])[0].metadata_list
    inside = [metadata for metadata in matched if metadata.path.startswith(directory)]
    return sorted(inside, key=lambda metadata: metadata.path)


def _literal(path: str) -> str:
    """A pattern that matches this path: Beam has no way to quote a character that globbing takes for its own."""
    return re.sub(r"[\[*?]", "?", path)


def delete(urls: Sequence[str]) -> None:
    """Deletes these files and directories; absent ones are no error."""
    logging.getLogger(__name__).debug("deleting %s", urls)
    for url in urls:
        if not is_remote(url):  # where Beam would take a name like "a[1].tar" for a pattern
            _delete_local(pathlib.Path(url))
    remote = [url for url in urls if is_remote(url)]
    for first in range(0, len(remote), 1000):
        present = [url for url in remote[first : first + 1000] if FileSystems.exists(url)]
        if present:
            FileSystems.delete(present)


def _delete_local(path: pathlib.Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_temporaries(output: str) -> None:
    """Removes what killed or failed attempts left half-written."""
    directory = join(output, TEMPORARY)
    delete([metadata.path for metadata in list_files(directory)])
    if not is_remote(output):
        delete([directory])


SHARD_NAMES = ("*.tar", "*.tar.gz", "*.tgz", "*.tar.bz2", "*.tbz2", "*.tar.xz", "*.txz")
"""What a shard is called, where a whole directory is given."""


def expand_patterns(patterns: Sequence[str]) -> list[str]:
    """Brace ranges (`{00000..00099}.tar`) written out, and the directories among them as what is named like a shard.

    What is there under exactly this name is meant by it, whatever globbing makes of its characters.
    """
    globs = []
    for pattern in itertools.chain.from_iterable(map(braceexpand.braceexpand, patterns)):
        path = None if is_remote(pattern) else pathlib.Path(pattern)
        glob = _literal(pattern) if path and path.exists() else pattern
        if pattern.endswith("/") or (path and path.is_dir()):
            globs += [join(glob.rstrip("/"), name) for name in SHARD_NAMES]
        else:
            globs.append(glob)
    return globs


def match_files(patterns: Sequence[str]) -> list[FileMetadata]:
    """All files that the patterns match, each once, in the order of their urls.

    Raises:
      UsageError: for a pattern that cannot be listed.
    """
    try:
        results = retried(FileSystems.match)(expand_patterns(patterns))
    except (BeamIOError, OSError, ValueError) as error:
        raise UsageError(f"cannot list {', '.join(patterns)}: {first_line(error)}") from error
    found = {metadata.path: metadata for result in results for metadata in result.metadata_list}
    return [found[path] for path in sorted(found)]


def first_line(error: BaseException) -> str:
    """What went wrong, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
