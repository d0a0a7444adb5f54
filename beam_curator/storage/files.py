"""Files wherever Beam reaches them (local, gs://, s3://): opened, read, written whole or not at all, deleted."""

from __future__ import annotations

import contextlib
import io
import logging
import pathlib
import shutil
from collections.abc import Iterator, Sequence
from typing import BinaryIO, cast

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from beam_curator.errors import StorageError
from beam_curator.storage.buckets.bucket import Bucket
from beam_curator.storage.buckets.objects import ObjectReader, ObjectWriter
from beam_curator.storage.buckets.services import bucket_of
from beam_curator.storage.fsspec_files import is_of_web, streamed
from beam_curator.storage.open_files import NamedReader, NamedWriter
from beam_curator.storage.retrying import naming, retried
from beam_curator.storage.temporary_names import TEMPORARY, temporary_name
from beam_curator.storage.urls import is_remote, join

DELETED_AT_ONCE = 1000
"""So many objects one request deletes."""


def reads_by_request(url: str) -> bool:
    """Tells whether opening this file costs nothing and each large read is a request of its own: so it is in a
    bucket."""
    return bucket_of(url) is not None


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
    return cast(BinaryIO, NamedReader(file, url, size_bytes, bucket is None and is_remote(url), _size_of))


def open_to_read_once(url: str) -> BinaryIO:
    """Opens a file as `open_for_reading` does, to read it once from beginning to end: a file of the web is then one
    request."""
    if not is_of_web(url):
        return open_for_reading(url)
    with naming("read", url):
        file = streamed(url)
    return cast(BinaryIO, NamedReader(file, url, None, False, _size_of))  # its client sees that an end is missing


@retried
def read_bytes(url: str) -> bytes:
    """A whole (small) file.

    Raises:
      StorageError: when it cannot be read, after retries.
    """
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
        yield cast(BinaryIO, NamedWriter(writer, final))
        with naming("write", final):
            writer.publish()
    except BaseException:
        with contextlib.suppress(Exception):  # what was sent is not seen; the service forgets it in time
            writer.abort()
        raise


@contextlib.contextmanager
def _renamed(directory: str, final: str) -> Iterator[BinaryIO]:
    temporary = join(directory, TEMPORARY, temporary_name(final.rsplit("/", 1)[-1]))
    try:
        with naming("write", final):
            opened = FileSystems.create(temporary, compression_type=CompressionTypes.UNCOMPRESSED)
        with NamedWriter(opened, final) as file:
            yield cast(BinaryIO, file)
        _make_directory(final.rsplit("/", 1)[0])
        with naming("write", final):
            FileSystems.rename([temporary], [final])
    except BaseException:
        with contextlib.suppress(StorageError):
            _delete([temporary])
        raise


def _make_directory(url: str) -> None:
    """Makes a directory where directories exist, with its parents."""
    if not is_remote(url):
        with naming("make", url):
            pathlib.Path(url).mkdir(parents=True, exist_ok=True)


@retried
def write_bytes(directory: str, name: str, content: bytes) -> None:
    """Writes a whole (small) file as DIRECTORY/NAME, atomically.

    Raises:
      StorageError: when it cannot be written, after retries.
    """
    with atomic_writer(directory, name) as file:
        file.write(content)


@retried
def exists(url: str) -> bool:
    """Tells whether there is such a file; a directory is none in a bucket.

    Raises:
      StorageError: when it cannot be looked for, after retries.
    """
    with naming("look for", url):
        bucket = bucket_of(url)
        return FileSystems.exists(url) if bucket is None else bucket.metadata(url) is not None


@retried
def size_of(url: str) -> int:
    """The size of a file in bytes.

    Raises:
      StorageError: when there is no such file, or it cannot be looked for, after retries.
    """
    with naming("look for", url):
        return _size_of(url)


@retried
def size_if_there(url: str) -> int | None:
    """The size of a file in bytes, None where there is no such file.

    Raises:
      StorageError: when it cannot be looked for, after retries.
    """
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
def delete(urls: Sequence[str]) -> None:
    """Deletes these files and directories; absent ones are no error.

    Raises:
      StorageError: when one cannot be deleted, after retries.
    """
    logging.getLogger(__name__).debug("deleting %s", urls)
    _delete(urls)


def _delete(urls: Sequence[str]) -> None:
    for url in urls:
        if not is_remote(url):  # where Beam would take a name like "a[1].tar" for a pattern
            with naming("delete", url):
                _delete_local(pathlib.Path(url))
    remote = [url for url in urls if is_remote(url)]
    for first in range(0, len(remote), DELETED_AT_ONCE):
        some = remote[first : first + DELETED_AT_ONCE]
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
