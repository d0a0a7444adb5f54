"""Reads the images of folders and lists, each a file of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from beam_curator.errors import StorageError
from beam_curator.images import IMAGE_EXTENSIONS
from beam_curator.images.extensions import extension_of
from beam_curator.samples import Buffer, Shard
from beam_curator.sources.listing import Entry, unpacked
from beam_curator.sources.records import Record
from beam_curator.sources.source import Rows
from beam_curator.storage import files, open_files, web_hosts
from beam_curator.storage.fsspec_files import is_of_web
from beam_curator.storage.places import is_special
from beam_curator.storage.read_ahead import prefetched
from beam_curator.storage.retrying import retried, why_permanent

NOMINAL_BYTES = 100_000
"""The size that an image is taken to have whose size is not known."""

MAX_FILE_BYTES = 1 << 30
FIRST_BYTES = 16 << 20
"""So much is read of a file whose size is not known while others are under way. A larger one is read once more, when
its turn has come: 64 of those together are more than a machine has."""

AT_ONCE, AT_ONCE_OF_WEB = 16, 64
"""So many files are opened at a time: each is waited for, and a host that is gone for some 20 seconds."""


def unsized(shard: Shard) -> int:
    """Counts the images of a listed shard whose size nobody knows: urls, and objects that a list names."""
    return len(unsized_rows(shard))


def unsized_rows(shard: Shard) -> list[int]:
    """Finds these images: their rows, ascending."""
    return [row for row, entry in enumerate(unpacked(shard.listing)) if not entry.size_bytes] if shard.listing else []


class ListedSource:
    """Reads files that were listed.

    Attributes:
      endings: none: a folder or a list is no shard by itself.
    """

    endings: tuple[str, ...] = ()

    def plan(self, shard: Shard, range_bytes: int) -> Sequence[Rows]:
        """Runs of files."""
        runs, start, taken = [], 0, 0
        entries = unpacked(shard.listing)
        for row, entry in enumerate(entries):
            size_bytes = entry.size_bytes or NOMINAL_BYTES
            if row > start and taken + size_bytes > range_bytes:
                runs.append(Rows(start, row, taken))
                start, taken = row, 0
            taken += size_bytes
        return [*runs, Rows(start, len(entries), taken)]

    def read(self, shard: Shard, rows: Sequence[int]) -> Iterator[Record]:
        """The files of these rows."""
        entries = unpacked(shard.listing)
        wanted = [entries[row] for row in rows]
        at_once = AT_ONCE_OF_WEB if any(is_of_web(entry.path) for entry in wanted) else AT_ONCE
        for entry, record in zip(wanted, prefetched(_record_of_small, wanted, at_once), strict=True):
            yield record or record_of(entry)


def _record_of_small(entry: Entry) -> Record | None:
    """`record_of`; None where that may take too much memory while others are read."""
    try:
        return record_of(entry, alone=False)
    except _TooLargeError:
        return None


class _TooLargeError(Exception):
    """A file has more bytes than may be read while others are."""


def record_of(entry: Entry, alone: bool = True) -> Record:
    """Reads a file and the files beside it into a record; one that cannot be read is failed.

    Args:
      entry: which one.
      alone: whether no others are read meanwhile: else a file of unknown size is one of `FIRST_BYTES` at most.

    Raises:
      _TooLargeError: where it has more.
      StorageError: when storage does not answer, after retries.
    """
    most_beside = MAX_FILE_BYTES if alone else FIRST_BYTES
    most_bytes = MAX_FILE_BYTES if entry.size_bytes else most_beside
    members: dict[str, Buffer] = {}
    failure = entry.failure
    if failure is None:
        image, failure = _read(entry.path, most_bytes)
        if image is not None:
            members[extension_of(image) or _extension_in(entry.path) or "jpg"] = image
    for extension, path in entry.files.items():
        data, why = _read(path, most_beside)
        failure = failure or (f"its {extension} file: {why}" if why else None)
        if data is not None:
            members[extension] = data
    for extension, text in entry.texts.items():
        members.setdefault(extension, text.encode("utf-8", "replace"))
    return Record(entry.key, members, failure, entry.passed_over)


def _read(path: str, most_bytes: int) -> tuple[bytes | None, str | None]:
    """A file's bytes, or why there are none."""
    if is_special(path):
        return None, "a pipe, socket or device, not a file"
    try:
        return _patiently(path, most_bytes)
    except StorageError as error:
        why = why_permanent(error) or web_hosts.why_gone(path, error)
        if why is None:
            raise
        return None, why


def _patiently(path: str, most_bytes: int) -> tuple[bytes | None, str | None]:
    """Tries again what may pass; but not for each url of a host that is gone."""
    if web_hosts.is_known_to_be_gone(path):
        try:
            return _content(path, most_bytes)
        except StorageError as error:
            if web_hosts.why_gone(path, error) is not None:
                raise
    return _content_at_last(path, most_bytes)


def _content(path: str, most_bytes: int) -> tuple[bytes | None, str | None]:
    with files.open_to_read_once(path) as file:
        data = open_files.read_at_most(file, most_bytes + 1)
    if len(data) <= most_bytes:
        return data, None
    if most_bytes < MAX_FILE_BYTES:
        raise _TooLargeError
    return None, f"file of more than {MAX_FILE_BYTES} bytes"


_content_at_last = retried(_content)


def _extension_in(path: str) -> str | None:
    extension = path.rpartition(".")[2].lower()
    return extension if extension in IMAGE_EXTENSIONS else None
