"""Small files that are written only if nobody else has written them meanwhile; the lease is made of these.

Locally a new file is linked into place, and a standing one replaced under a lock of the directory. In `gs://` and
`s3://` the service compares. Azure creates a file only where there is none, and replaces without comparing. Other file
systems offer nothing of the kind: there two writers in one instant may both win.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import pathlib
import uuid
from collections.abc import Iterator

from beam_curator.storage import files, fsspec_files, urls
from beam_curator.storage.buckets.bucket import Bucket
from beam_curator.storage.buckets.services import bucket_of
from beam_curator.storage.retrying import naming, retried

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


@dataclasses.dataclass(frozen=True)
class Standing:
    """A file as it was when it was read.

    Attributes:
      content: all its bytes.
      changed: when it was written, in seconds since 1970; 0 where storage does not tell.
      version: in a bucket, the version that the service compares when the file is replaced; "" elsewhere.
    """

    content: bytes
    changed: float
    version: str = ""


@retried
def read(url: str) -> Standing | None:
    """The file, or None if there is none.

    Raises:
      StorageError: when it cannot be read, after retries.
    """
    with naming("read", url):
        bucket = bucket_of(url)
        if bucket is not None:
            found = bucket.read_versioned(url)
            return None if found is None else Standing(found.content, found.changed, found.version)
        if not urls.is_remote(url):
            return _read_local(pathlib.Path(url))
    return Standing(files.read_bytes(url), 0.0) if files.exists(url) else None


@retried
def create(url: str, content: bytes) -> bool:
    """Writes a file if there is none; gives whether it did.

    Raises:
      StorageError: when it cannot be written, after retries.
    """
    return _write_over(None, url, content)


@retried
def replace(url: str, content: bytes, before: Standing) -> bool:
    """Writes a file if it still stands as it was read; gives whether it did.

    Raises:
      StorageError: when it cannot be written, after retries.
    """
    return _write_over(before, url, content)


@retried
def remove(url: str, before: Standing) -> bool:
    """Removes a file if it still stands as it was read; gives whether it is gone. Locally nobody replaces it meanwhile;
    in a bucket, what is replaced in this instant is removed as well.

    Raises:
      StorageError: when it cannot be removed, after retries.
    """
    if urls.is_remote(url):
        files.delete([url])
        return True
    path = pathlib.Path(url)
    with naming("remove", url), contextlib.suppress(FileNotFoundError), _locked(path.parent):
        found = _read_local(path)
        if found is not None and found.content != before.content:
            return False
        path.unlink()
    return True


def _write_over(before: Standing | None, url: str, content: bytes) -> bool:
    """Writes a file where that stands, or nothing; gives whether it did."""
    with naming("write", url):
        bucket = bucket_of(url)
        if bucket is not None:
            return _put(bucket, url, content, before)
        if not urls.is_remote(url):
            path = pathlib.Path(url)
            return _create_local(path, content) if before is None else _replace_local(path, content, before)
        created = fsspec_files.create(url, content) if before is None else None
        if created:
            return True
    found = read(url)
    if created is False:
        return found is not None and found.content == content  # a write whose answer was lost
    stands, stood = (None if one is None else one.content for one in (found, before))
    if stands == content:  # a write whose answer was lost
        return True
    if stands != stood:
        return False
    _write(url, content)
    return True


def _write(url: str, content: bytes) -> None:
    directory, place, name = url.rsplit("/", 2)
    files.write_bytes(directory, f"{place}/{name}", content)


def _put(bucket: Bucket, url: str, content: bytes, before: Standing | None) -> bool:
    if bucket.put_if(url, content, None if before is None else before.version):
        return True
    found = bucket.read_versioned(url)
    return found is not None and found.content == content  # a write whose answer was lost


def _read_local(path: pathlib.Path) -> Standing | None:
    try:
        with path.open("rb") as file:
            return Standing(file.read(), os.fstat(file.fileno()).st_mtime)
    except FileNotFoundError:
        return None


def _create_local(path: pathlib.Path, content: bytes) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    with _new_file(path, content) as written:
        try:
            os.link(written, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return _create_without_links(path, content)
    return True


def _create_without_links(path: pathlib.Path, content: bytes) -> bool:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return True


def _replace_local(path: pathlib.Path, content: bytes, before: Standing) -> bool:
    with _locked(path.parent):
        found = _read_local(path)
        if found is None or found.content != before.content:
            return False
        with _new_file(path, content) as written:
            written.replace(path)
    return True


@contextlib.contextmanager
def _new_file(path: pathlib.Path, content: bytes) -> Iterator[pathlib.Path]:
    written = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        written.write_bytes(content)
        yield written
    finally:
        written.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(directory: pathlib.Path) -> Iterator[None]:
    """Lets one process at a time replace files here. A file system that locks no directories (NFS) goes without."""
    descriptor = os.open(directory, os.O_RDONLY) if fcntl else None
    try:
        if descriptor is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)
