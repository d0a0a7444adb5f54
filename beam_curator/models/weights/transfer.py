"""Brings a file to where it is needed, whole and proven to be the right one.

Local paths are plain paths; anything with a scheme (`gs://`, `s3://`) goes through Beam's FileSystems. A
local file appears under its final name only when all of it is there and its sha256 is the expected one.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import pathlib
import re
import shutil
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from typing import BinaryIO

from beam_curator.errors import CurationError, StorageError
from beam_curator.storage import files, urls
from beam_curator.storage.retrying import retried
from beam_curator.temporaries import temporary_directory

BLOCK_BYTES = 4 << 20
TIMEOUT_SECONDS = 10  # To connect, and between two pieces of an answer.

_SHA256 = re.compile("[0-9a-f]{64}")


class TransferError(CurationError):
    """A file could not be read or brought here, or was not the right one; the message is short."""


@contextlib.contextmanager
def _told_shortly(path: str) -> Iterator[None]:
    try:
        yield
    except TransferError:
        raise
    except StorageError as error:
        raise TransferError(str(error)) from error
    except Exception as error:  # The clients behind FileSystems share no type of error.
        raise TransferError(f"{path}: {_short(error)}") from error


def _short(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or error  # A URLError wraps the cause that people know.
    text = " ".join((str(reason) or type(error).__name__).split())
    return text if len(text) <= 200 else f"{text[:100]} ... {text[-100:]}"


def is_file(path: str) -> bool:
    """Tells whether there is a file at a local path or in a bucket.

    Raises:
      TransferError: the bucket could not be asked (no such scheme, no credentials, no network).
    """
    if not urls.is_remote(path):
        return pathlib.Path(path).is_file()
    with _told_shortly(path):
        return files.exists(path)


def size_of(path: str) -> int:
    """Gives the size of an existing file, in bytes.

    Raises:
      TransferError: it could not be asked for.
    """
    with _told_shortly(path):
        return files.size_of(path)


def sha256_of(path: str) -> str:
    """The sha256 of a local file or of one in a bucket, in hex.

    Raises:
      TransferError: it could not be read.
    """
    with _told_shortly(path):
        return _sha256_of(path)


@retried
def _sha256_of(path: str) -> str:
    digest = hashlib.sha256()
    with files.open_for_reading(path) as source:
        while block := source.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def read_text(path: str) -> str:
    """A small file, as far as it is ASCII.

    Raises:
      TransferError: it could not be read.
    """
    with _told_shortly(path):
        return files.read_bytes(path).decode("ascii", "replace")


def copy(path: str, target: pathlib.Path, sha256: str) -> None:
    """Copies a local file, or one in a bucket, to a local path.

    Raises:
      TransferError: it could not be read or written, or has another sha256.
    """
    with _told_shortly(path):
        _copy(path, target, sha256)


@retried
def _copy(path: str, target: pathlib.Path, sha256: str) -> None:
    with files.open_for_reading(path) as source:
        _receive(source, target, sha256)


def download(url: str, target: pathlib.Path, sha256: str, size_bytes: int | None = None) -> None:
    """Downloads a file to a local path.

    Raises:
      TransferError: it could not be reached or written, or has another size or sha256.
    """
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as source:
            _receive(source, target, sha256, size_bytes)
    except (OSError, http.client.HTTPException) as error:
        raise TransferError(f"{url}: {_short(error)}") from error


def _receive(source: BinaryIO, target: pathlib.Path, sha256: str, size_bytes: int | None = None) -> None:
    with _appearing_whole(target) as part:
        digest, received_bytes = hashlib.sha256(), 0
        with part.open("wb") as out:
            while block := source.read(BLOCK_BYTES):
                received_bytes += len(block)
                if size_bytes is not None and received_bytes > size_bytes:
                    raise TransferError(f"{target.name}: more came than its {size_bytes} bytes")
                digest.update(block)
                out.write(block)
        check_sha256(target.name, sha256, digest.hexdigest())


@contextlib.contextmanager
def _appearing_whole(target: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives a temporary path, which takes the target's name unless the block raises."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    try:
        yield part
        os.replace(part, target)  # noqa: PTH105 (Path.replace is the same, os.replace says that it is atomic)
    finally:
        part.unlink(missing_ok=True)


def write(target: pathlib.Path, content: bytes) -> pathlib.Path:
    """Writes a local file, which appears under its name when it is whole; returns its path."""
    with _appearing_whole(target) as part:
        part.write_bytes(content)
    return target


def check_sha256(name: str, expected: str, found: str) -> None:
    """Compares two sha256 sums.

    Raises:
      TransferError: they differ.
    """
    if found != expected:
        raise TransferError(f"{name}: expected sha256 {expected}, found {found}")


def download_from_hub(repo: str, filename: str, target: pathlib.Path) -> str | None:
    """Downloads a file that a Hugging Face repository keeps in LFS, or takes it from the hub's own cache.

    LFS names a file by its sha256, so the hub itself says which sum the file must have.

    Args:
      repo: `organisation/name`.
      filename: path in the repository.
      target: local path.

    Returns:
      The sha256, or None if the repository has no such file.

    Raises:
      TransferError: it could not be reached or written, or has another sha256.
    """
    import huggingface_hub  # Slow to import, and only fetching needs it.
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    name = f"{repo}/{filename}"
    cached = huggingface_hub.try_to_load_from_cache(repo, filename)
    if isinstance(cached, str) and pathlib.Path(cached).is_symlink():
        sha256 = _lfs_sha256(name, pathlib.Path(cached).readlink().name)
        copy(cached, target, sha256)
        return sha256
    endpoint = os.environ.get("HF_ENDPOINT")
    try:
        # Asked first, because hf_hub_download tries for half a minute to reach a hub that cannot be reached.
        url = huggingface_hub.hf_hub_url(repo, filename, endpoint=endpoint)
        metadata = huggingface_hub.get_hf_file_metadata(url, timeout=TIMEOUT_SECONDS)
        sha256 = _lfs_sha256(name, metadata.etag)
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary_directory(".hub-", target.parent) as cache:
            downloaded = huggingface_hub.hf_hub_download(repo, filename, cache_dir=cache, endpoint=endpoint)
            check_sha256(name, sha256, sha256_of(downloaded))
            with _appearing_whole(target) as part:
                _take_out(pathlib.Path(downloaded).resolve(), pathlib.Path(cache).resolve(), part)
    except TransferError:
        raise
    except Exception as error:  # Which client library raises depends on the hub's version.
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            return None
        raise TransferError(f"{name}: {_short(error)}") from error
    return sha256


def _take_out(blob: pathlib.Path, cache: pathlib.Path, target: pathlib.Path) -> None:
    if blob.is_relative_to(cache):
        shutil.move(blob, target)
    else:  # The hub's client linked to a store that it shares between caches, which is not ours to empty.
        shutil.copyfile(blob, target)


def _lfs_sha256(name: str, etag: str | None) -> str:
    if etag is None or not _SHA256.fullmatch(etag):
        raise TransferError(f"{name}: the Hugging Face hub gives no sha256 for it, so it cannot be verified")
    return etag


def put(directory: str, fetch: Callable[[pathlib.Path], list[pathlib.Path]]) -> None:
    """Has `fetch` put files into a local directory, from where they get into `directory`.

    Args:
      directory: a local one, which is passed on, or a bucket's folder, to which the files are copied.
      fetch: puts files into the directory that it is given, and returns their paths.

    Raises:
      TransferError: the files could not be written.
    """
    if not urls.is_remote(directory):
        try:
            fetch(pathlib.Path(directory))
        except OSError as error:
            raise TransferError(f"{directory}: {_short(error)}") from error
        return
    with temporary_directory("beam-curator-") as local:
        for file in fetch(pathlib.Path(local)):
            with _told_shortly(urls.join(directory, file.name)):
                _upload(file, directory)


@retried
def _upload(file: pathlib.Path, directory: str) -> None:
    with file.open("rb") as source, files.atomic_writer(directory.rstrip("/"), file.name) as out:
        shutil.copyfileobj(source, out, BLOCK_BYTES)
