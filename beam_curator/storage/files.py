"""Files wherever Beam reaches them (local, gs://, s3://): matching, reading, and writing that is whole or not there."""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import os
import pathlib
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, cast

from apache_beam.io.filesystem import CompressionTypes, FileMetadata
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.localfilesystem import LocalFileSystem
from apache_beam.options.pipeline_options import PipelineOptions

from beam_curator.errors import StorageError
from beam_curator.errors import first_line as first_line
from beam_curator.storage.buckets import listing
from beam_curator.storage.buckets.bucket import Bucket
from beam_curator.storage.buckets.objects import ObjectReader, ObjectWriter
from beam_curator.storage.buckets.services import bucket_of
from beam_curator.storage.fsspec_files import SizeNotToldError, streamed
from beam_curator.storage.fsspec_files import is_of_web as is_of_web
from beam_curator.storage.local_writing import write_all
from beam_curator.storage.read_ahead import prefetched
from beam_curator.storage.retrying import naming, retried

TEMPORARY = "_tmp"
"""The directory under an output directory that holds what is not whole yet."""

LEASE = "lease.json"
"""The file in `TEMPORARY` that says which job may write to the output directory: see `output.lease`."""

_TEMPORARY_NAME = re.compile(r".+\.[0-9a-f]{32}")


def is_remote(url: str) -> bool:
    """Tells whether this names something outside the local file system."""
    return "://" in url


def reads_by_request(url: str) -> bool:
    """Tells whether opening this file costs nothing and each large read is a request of its own: so it is in a
    bucket."""
    return bucket_of(url) is not None


def join(*parts: str) -> str:
    """The url of a file in a directory, local or in a bucket; of a scheme that nobody knows as well."""
    if not is_remote(parts[0]):
        return os.path.join(*parts)  # noqa: PTH118 (pathlib would take "." and "//" out of what the user wrote)
    return "/".join([parts[0].rstrip("/"), *(part.lstrip("/") for part in parts[1:])])


def absolute(path: str) -> str:
    """The path as it is understood in any working directory: workers may have another one."""
    return path if is_remote(path) else str(pathlib.Path(path).expanduser().absolute())


def use_options(options: PipelineOptions) -> None:
    """Has buckets reached with the credentials and endpoints of these options, as workers do by themselves."""
    FileSystems.set_options(options)


def open_for_reading(url: str, size_bytes: int | None = None, read_ahead: bool = True) -> BinaryIO:
    """Opens a file for reading at any position; nothing is decompressed.

    A read gives as many bytes as it is asked for, except at the end of the file, even if storage answers with fewer. In
    a bucket a large read is one request; `buckets.objects.ObjectReader` says how small ones are made.

    Args:
      url: path or url of the file.
      size_bytes: its size, if known: then a connection that ends before raises, in place of being taken for the file's
        end. Where it is not known, and a client of storage does not check this, it is asked for.
      read_ahead: False if each read asks for all that is wanted nearby: then a local read is one system call.

    Raises:
      StorageError: when it cannot be opened, and on reading.
    """
    with naming("read", url):
        bucket = bucket_of(url)
        if bucket is not None:
            file = cast(BinaryIO, ObjectReader(bucket, url, size_bytes, read_ahead))
        else:
            file = FileSystems.open(url, compression_type=CompressionTypes.UNCOMPRESSED)
            size_bytes = getattr(file, "size", size_bytes) if is_remote(url) else size_bytes  # fsspec's know it
            if not read_ahead and isinstance(file, io.BufferedReader):
                file = cast(BinaryIO, file.detach())
    return cast(BinaryIO, _Reading(file, url, size_bytes, bucket is None and is_remote(url)))


def open_to_read_once(url: str) -> BinaryIO:
    """Opens a file as `open_for_reading` does, to read it once from beginning to end: a file of the web is then one
    request."""
    if not is_of_web(url):
        return open_for_reading(url)
    with naming("read", url):
        return cast(BinaryIO, _Reading(streamed(url), url, None, False))  # its client sees that an end is missing


def read_fully(file: BinaryIO, size: int) -> bytes:
    """Reads `size` bytes, or all up to the end if it is negative; one `read` of a file may give less than there is."""
    if size < 0:
        return file.read()
    pieces: list[bytes] = []
    while size > 0 and (piece := file.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


_FIRST_PIECE_BYTES = 16 << 20


def read_at_most(file: BinaryIO, limit: int) -> bytes:
    """Reads a whole file, or its first `limit` bytes.

    It reads in pieces, because Python allocates memory for all that one read asks for, however small the file is.

    Args:
      file: as `open_for_reading` gives it: a read that gives less than it is asked for has met the end.
      limit: in bytes, far more than is expected.
    """
    pieces: list[bytes] = []
    missing, wanted = limit, _FIRST_PIECE_BYTES
    while missing:
        asked = min(missing, wanted)
        pieces.append(file.read(asked))
        if len(pieces[-1]) < asked:
            break
        missing, wanted = missing - asked, 2 * wanted
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class _Reading(io.RawIOBase):
    """An open file whose reads give all bytes that they are asked for, and whose errors name it."""

    def __init__(self, file: BinaryIO, url: str, size_bytes: int | None, asks_size: bool) -> None:
        super().__init__()
        self._file, self._url, self._size_bytes, self._asks_size = file, url, size_bytes, asks_size
        self._position: int | None = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        wanted = -1 if size is None else size
        position, self._position = self._position, None  # not known if this fails
        with naming("read", self._url):
            data = read_fully(self._file, wanted)
            if wanted < 0 or len(data) < wanted:
                self._check_end()
        self._position = None if position is None else position + len(data)
        return data

    def _check_end(self) -> None:
        """Raises OSError if the file is longer than what was read, so that its connection has ended too early."""
        if self._size_bytes is None and self._asks_size:
            try:
                self._size_bytes = _size_of(self._url)
            except SizeNotToldError:
                return  # sent in chunks, or compressed: then the client sees that the end is missing
        end = self._file.tell()
        if self._size_bytes is not None and end < self._size_bytes and end < _size_of(self._url):
            raise OSError(f"the connection ended at byte {end} of {self._size_bytes}")

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET and offset == self._position:
            return offset  # without asking the system, for which a thread would give up Python's lock
        with naming("read", self._url):
            self._position = self._file.seek(offset, whence)
        return self._position

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        super().close()
        self._file.close()


class _Named(io.RawIOBase):
    """A new file, whose errors give its final name."""

    def __init__(self, file: Any, final: str) -> None:
        super().__init__()
        self._file, self._url = file, final

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        with naming("write", self._url):
            self._file.write(data)
        return memoryview(data).nbytes

    def writelines(self, pieces: Iterable[Any]) -> None:
        """Writes these pieces one after the other; for a local file, large ones without copying them in memory."""
        with naming("write", self._url):
            write_all(self._file, pieces)

    def close(self) -> None:
        if not self.closed:
            super().close()
            with naming("write", self._url):
                self._file.close()


@retried
def read_bytes(url: str) -> bytes:
    """A whole (small) file."""
    with open_for_reading(url) as file:
        return file.read()


@contextlib.contextmanager
def atomic_writer(directory: str, name: str) -> Iterator[BinaryIO]:
    """Gives a file to write to, which appears as DIRECTORY/NAME, whole, when the block ends without an error.

    In a bucket it is written under its name, since an object appears only when its upload is finished. Elsewhere it is
    written under `_tmp` in the same directory (one file system, so that the rename is atomic), with a unique name, so
    that two attempts at the same file cannot meet. Use it inside a function that is `retried`.

    Args:
      directory: an output directory.
      name: path of the file under it, with "/" between its parts.

    Raises:
      StorageError: when it cannot be written.
    """
    final = join(directory, *name.split("/"))
    with naming("write", final):
        bucket = bucket_of(final)
    with _uploaded(bucket, final) if bucket is not None else _renamed(directory, final) as file:
        yield file


@contextlib.contextmanager
def _uploaded(bucket: Bucket, final: str) -> Iterator[BinaryIO]:
    writer = ObjectWriter(bucket, final)
    try:
        yield cast(BinaryIO, _Named(writer, final))
        with naming("write", final):
            writer.publish()
    except BaseException:
        with contextlib.suppress(Exception):  # what was sent is not seen; the service forgets it in time
            writer.abort()
        raise


@contextlib.contextmanager
def _renamed(directory: str, final: str) -> Iterator[BinaryIO]:
    temporary = join(directory, TEMPORARY, f"{final.rsplit('/', 1)[-1]}.{uuid.uuid4().hex}")
    try:
        with naming("write", final):
            opened = FileSystems.create(temporary, compression_type=CompressionTypes.UNCOMPRESSED)
        with _Named(opened, final) as file:
            yield cast(BinaryIO, file)
        make_directory(final.rsplit("/", 1)[0])
        with naming("write", final):
            FileSystems.rename([temporary], [final])
    except BaseException:
        with contextlib.suppress(StorageError):
            _delete([temporary])
        raise


@retried
def write_bytes(directory: str, name: str, content: bytes) -> None:
    """Writes a whole (small) file as DIRECTORY/NAME, atomically.

    Raises:
      StorageError: when it cannot be written, after retries.
    """
    with atomic_writer(directory, name) as file:
        file.write(content)


def make_directory(url: str) -> None:
    """Makes a directory where directories exist, with its parents."""
    if not is_remote(url):
        with naming("make", url):
            pathlib.Path(url).mkdir(parents=True, exist_ok=True)


@retried
def exists(url: str) -> bool:
    """Tells whether there is such a file."""
    with naming("look for", url):
        bucket = bucket_of(url)
        return FileSystems.exists(url) if bucket is None else bucket.metadata(url) is not None


def is_there(path: str) -> bool:
    """Tells whether a file or directory exists; elsewhere than locally, a directory does if there is anything in it."""
    if not is_remote(path):
        return pathlib.Path(path).exists()
    return exists(path) or not is_empty(path)


@retried
def size_of(url: str) -> int:
    """The size of a file in bytes."""
    with naming("look for", url):
        return _size_of(url)


@retried
def size_if_there(url: str) -> int | None:
    """The size of a file in bytes, None where there is no such file."""
    with naming("look for", url):
        bucket = bucket_of(url)
        if bucket is None:
            return _size_of(url) if FileSystems.exists(url) else None
        found = bucket.metadata(url)
        return None if found is None else found.size_in_bytes


def _size_of(url: str) -> int:
    bucket = bucket_of(url)
    if bucket is None:
        return int(FileSystems.get_filesystem(url).size(url))
    found = bucket.metadata(url)
    if found is None:
        raise FileNotFoundError("there is no such object")
    return found.size_in_bytes


@retried
def list_files(directory: str, pattern: str = "*") -> list[FileMetadata]:
    """The files of a directory whose names match one of Beam's globs; an absent directory has none."""
    with naming("list", directory):
        matched = _match([join(_literal(directory), pattern)]) if is_remote(directory) else _here(directory, pattern)
    inside = [metadata for metadata in matched if metadata.path.startswith(directory)]
    return sorted(inside, key=lambda metadata: metadata.path)


def _here(directory: str, pattern: str) -> Iterator[FileMetadata]:
    """Lists as `list_files` does, in a local directory. Beam's listing would look through all that is below it; and
    where its path is relative and begins with a character of globs, it would find nothing."""
    matches = re.compile(LocalFileSystem.translate_pattern(pattern)).match
    for name in iter_files(directory, below="/" in pattern or "**" in pattern):
        if matches(name):
            path = join(directory, name)
            with contextlib.suppress(FileNotFoundError):  # it went meanwhile
                found = os.stat(path)  # noqa: PTH116 (as in `join`)
                yield FileMetadata(path, found.st_size, found.st_mtime)


def iter_files(directory: str, below: bool = False) -> Iterator[str]:
    """Yields the names of a directory's files, in no order: there may be more than fit in memory.

    Args:
      directory: the directory; an absent one has no files.
      below: whether to go into directories below it as well; names then have "/" in them.

    Raises:
      StorageError: when it cannot be listed, after retries.
    """
    if is_remote(directory):
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
        return list(itertools.islice(listed, 1000))


def _literal(path: str) -> str:
    """A pattern that matches this path: Beam has no way to quote a character that globbing takes for its own."""
    return re.sub(r"[\[*?]", "?", path)


@retried
def delete(urls: Sequence[str]) -> None:
    """Deletes these files and directories; absent ones are no error."""
    logging.getLogger(__name__).debug("deleting %s", urls)
    _delete(urls)


def _delete(urls: Sequence[str]) -> None:
    for url in urls:
        if not is_remote(url):  # where Beam would take a name like "a[1].tar" for a pattern
            with naming("delete", url):
                _delete_local(pathlib.Path(url))
    remote = [url for url in urls if is_remote(url)]
    for first in range(0, len(remote), 1000):
        some = remote[first : first + 1000]
        with naming("delete", some[0] if len(some) == 1 else f"{some[0]} and {len(some) - 1} more"):
            _delete_remote(some)


def _delete_remote(urls: Sequence[str]) -> None:
    bucket = bucket_of(urls[0])
    if bucket is not None:
        bucket.delete(urls)
        return
    present = [url for url in urls if FileSystems.exists(url)]
    if present:
        FileSystems.delete(present)


def _delete_local(path: pathlib.Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_temporaries(output: str, of: Sequence[str] | None = None) -> None:
    """Removes half-written files that killed or failed attempts left under `_tmp`.

    Args:
      output: the output directory.
      of: names of the files that were to be written; None for all.
    """
    directory = join(output, TEMPORARY)

    def is_meant(name: str) -> bool:
        return name != LEASE and (of is None or name.rpartition(".")[0] in of)

    if is_remote(output):
        meant = (join(directory, name) for name in iter_files(directory) if is_meant(name))
        for _ in prefetched(delete, _packs(meant), _DELETIONS_AT_ONCE):
            pass  # a killed job may have left a piece of each range
    elif pathlib.Path(directory).is_dir():
        for some in _packs(str(path) for path in pathlib.Path(directory).iterdir() if is_meant(path.name)):
            delete(some)
        remove_empty(output)


_DELETIONS_AT_ONCE = 8
"""So many requests that delete a thousand objects are under way: a bucket answers each in a second or more."""


def _packs(urls: Iterable[str]) -> Iterator[list[str]]:
    urls = iter(urls)
    while some := list(itertools.islice(urls, 1000)):
        yield some


def remove_empty(output: str) -> None:
    """Removes the directory for temporary files, if there is one and nothing in it."""
    if not is_remote(output):
        with contextlib.suppress(OSError):
            pathlib.Path(output, TEMPORARY).rmdir()


def remove_empty_directories(directory: str) -> None:
    """Removes a local directory and those in it, as far as nothing is in them; buckets have none."""
    if is_remote(directory):
        return
    for path, _, _ in os.walk(directory, topdown=False):
        with contextlib.suppress(OSError):
            pathlib.Path(path).rmdir()


@retried
def is_empty(directory: str) -> bool:
    """Tells whether a directory holds nothing, at any depth, but half-written files of a job that was killed.

    Raises:
      StorageError: when it cannot be listed, after retries.
    """
    with naming("list", directory):
        return all(_is_half_written(name) for name in _names_in(directory))


def _is_half_written(name: str) -> bool:
    place, _, base = name.rpartition("/")
    return place == TEMPORARY and (base == LEASE or _TEMPORARY_NAME.fullmatch(base) is not None)


def _names_in(directory: str) -> Iterator[str]:
    """Yields the names in a directory, and in its directory for temporary files; in a bucket, of all objects below."""
    bucket = bucket_of(directory)
    prefix = f"{directory.rstrip('/')}/"
    if bucket is not None:
        yield from (found.path[len(prefix) :] for found in bucket.list(prefix) if found.path != prefix)
    elif is_remote(directory):
        yield from (found.path[len(prefix) :] for found in _match([f"{_literal(prefix)}**"]))
    elif pathlib.Path(directory).is_dir():
        for path in pathlib.Path(directory).iterdir():
            inside = path.name == TEMPORARY and path.is_dir() and not path.is_symlink()
            yield from (f"{TEMPORARY}/{one.name}" for one in path.iterdir()) if inside else (path.name,)


def _match(globs: Sequence[str]) -> list[FileMetadata]:
    """Finds all files that Beam's globs match; in buckets, what several of them may match is listed once."""
    matched = []
    for bucket, some in _by_service(globs).items():
        if bucket is None:
            results = FileSystems.match(some)
            matched += [metadata for result in results for metadata in result.metadata_list]
        else:
            matched += listing.match(bucket, some)
    return matched


def _by_service(globs: Sequence[str]) -> dict[Bucket | None, list[str]]:
    services: dict[Bucket | None, list[str]] = {}
    for glob in globs:
        services.setdefault(bucket_of(glob), []).append(glob)
    return services
