"""More storage than Beam knows: what fsspec reaches (hf://, https://, az://, ...), as one of Beam's file systems a
scheme, so that it is behind the same door as all other.

`gs://` and `s3://` are read by `buckets`, and Beam has file systems of its own for `hdfs://` and `azfs://`.
"""

from __future__ import annotations

import contextlib
import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import fsspec
from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileMetadata, FileSystem, MatchResult
from fsspec.registry import known_implementations

from beam_curator.storage import fsspec_clients
from beam_curator.storage.buckets.bucket import ObjectMetadata
from beam_curator.storage.retrying import is_absent

_EXTRAS = {
    "hf": "hf",
    "http": "http",
    "https": "http",
    "az": "azure",
    "abfs": "azure",
    "abfss": "azure",
    "adl": "azure",
}
_PACKAGES = {"huggingface_hub": ("hf",), "adlfs": ("az", "abfs", "abfss", "adl"), "aiohttp": ("http", "https")}
"""The packages that may lack, with the schemes that need them; of other packages fsspec says it."""

_CALLED = {"gcs": "gs", "s3a": "s3", "s3n": "s3", "wasbs": "abfs"}
"""Schemes by which others call storage that we know under another one."""

_OTHERS = frozenset({"gs", "s3", "hdfs", "azfs"})

SCHEMES = (
    *(
        "abfs",
        "abfss",
        "adl",
        "az",
        "box",
        "dropbox",
        "file",
        "ftp",
        "gdrive",
        "github",
        "hf",
        "http",
        "https",
        "lakefs",
    ),
    *("memory", "oci", "oss", "sftp", "smb", "ssh", "tos", "webdav", "webhdfs"),
)
"""The schemes that are read through fsspec."""

_READ_ONLY = ("http", "https")
_WEB = ("http://", "https://")


class SizeNotToldError(ValueError):
    """Storage gives a file, and does not say how large it is: it is read from its beginning to its end, or not."""


_STAMPS = (
    "ETag",
    "etag",
    "blob_id",
    "md5",
    "content_md5",
    "sha256",
    "checksum",
    "mtime",
    "LastModified",
    "last_modified",
)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def check_scheme(url: str) -> None:
    """Raises ValueError for a scheme that nobody reads, and ImportError for one whose package is not installed."""
    found = _SCHEME.match(url)
    scheme = found[1] if found else ""
    if not scheme or scheme in _OTHERS:
        return
    if scheme in _CALLED:
        raise ValueError(f"{scheme}:// is called {_CALLED[scheme]}:// here")
    if scheme not in SCHEMES:
        if any(one.scheme() == scheme for one in FileSystem.get_all_subclasses()):
            return  # a file system of Beam's, of the user's own
        raise ValueError(f"there is no storage called {scheme}://: gs, s3, hdfs, {', '.join(SCHEMES)} are known")
    try:
        fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        raise ImportError(f"{scheme}:// needs a package that is not installed: {_how_to_install(scheme)}") from error


def _how_to_install(scheme: str) -> str:
    package = next((name for name, schemes in _PACKAGES.items() if scheme in schemes), None)
    if package is None:
        return str(known_implementations.get(scheme, {}).get("err", "see fsspec's list of implementations"))
    return f"pip install {package}, or 'beam-curator[{_EXTRAS[scheme]}]'"


_EXCLUSIVE = frozenset({"abfs", "abfss", "az", "file", "memory"})
"""Schemes whose file systems create a file only where there is none."""


def create(url: str, content: bytes) -> bool | None:
    """Writes a file if there is none; gives whether it did, or None where the storage offers nothing of the kind."""
    found = _SCHEME.match(url)
    if found is None or found[1] not in _EXCLUSIVE:
        return None
    fs, inner = _opened(url)
    fs.makedirs(fs._parent(inner), exist_ok=True)
    try:
        with fs.open(inner, "xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True


def is_of_web(url: str) -> bool:
    """Tells whether a web server is asked for this file."""
    return url.lower().startswith(_WEB)


def streamed(url: str) -> BinaryIO:
    """A file of the web as its server sends it, from its beginning to its end: one request, also of a server that does
    not say how large a file is, says it wrongly, or gives no parts of it."""
    fs, inner = _opened(url)
    return fs.open(inner, "rb", block_size=0, size=1)  # any size: else fsspec asks for it before, in two ways


class _ByFsspec:
    """The methods of Beam's `FileSystem`, each by fsspec."""

    @classmethod
    def scheme(cls) -> str:
        raise NotImplementedError

    def join(self, basepath: str, *paths: str) -> str:
        return "/".join([basepath.rstrip("/"), *(path.strip("/") for path in paths)])

    def split(self, path: str) -> tuple[str, str]:
        before, _, name = path.rstrip("/").rpartition("/")
        return before, name

    def has_dirs(self) -> bool:
        return True

    def mkdirs(self, path: str) -> None:
        fs, inner = _opened(path)
        fs.makedirs(inner, exist_ok=True)

    def match(self, patterns: Sequence[str], limits: Sequence[int | None] | None = None) -> list[MatchResult]:
        """Matches as Beam's `match` does, but takes a pattern for the file of exactly this name if there is one: urls
        have a `?` that is no wildcard."""
        results = []
        for pattern in patterns:
            if "*" not in pattern and self.exists(pattern):
                results.append(MatchResult(pattern, [self.metadata(pattern)]))
            else:
                results += super().match([pattern])  # type: ignore[misc]
        return results

    def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
        fs, inner = _opened(dir_or_prefix)
        fs.invalidate_cache()
        try:
            found = fs.find(inner, detail=True)
        except FileNotFoundError:
            return
        root = inner.rstrip("/")
        for name, info in sorted(found.items()):
            yield _metadata(f"{dir_or_prefix.rstrip('/')}/{name[len(root) :].lstrip('/')}", info)

    def open(self, path: str, mime_type: str = "", compression_type: str = CompressionTypes.UNCOMPRESSED) -> BinaryIO:
        fs, inner = _opened(path)
        with _as_it_was(path):
            return fs.open(inner, "rb")

    def create(self, path: str, mime_type: str = "", compression_type: str = CompressionTypes.UNCOMPRESSED) -> BinaryIO:
        if self.scheme() in _READ_ONLY:
            raise PermissionError(f"{self.scheme()}:// is read, not written")
        fs, inner = _opened(path)
        fs.makedirs(fs._parent(inner), exist_ok=True)
        return fs.open(inner, "wb")

    def copy(self, source_file_names: Sequence[str], destination_file_names: Sequence[str]) -> None:
        for source, destination in zip(source_file_names, destination_file_names, strict=True):
            fs, inner = _opened(source)
            fs.copy(inner, _opened(destination)[1], recursive=True)

    def rename(self, source_file_names: Sequence[str], destination_file_names: Sequence[str]) -> None:
        for source, destination in zip(source_file_names, destination_file_names, strict=True):
            fs, inner = _opened(source)
            target = _opened(destination)[1]
            fs.makedirs(fs._parent(target), exist_ok=True)
            fs.mv(inner, target)

    def exists(self, path: str) -> bool:
        """Tells whether there is such a file: directories are none here, as in buckets."""
        fs, inner = _opened(path)
        try:
            with _as_it_was(path):
                return fs.info(inner).get("type") != "directory"
        except FileNotFoundError:
            return False

    def size(self, path: str) -> int:
        fs, inner = _opened(path)
        with _as_it_was(path):
            size = fs.size(inner)
        if size is None:
            raise SizeNotToldError("its server does not say how large it is")
        return int(size)

    def last_updated(self, path: str) -> float:
        return self.metadata(path).last_updated_in_seconds

    def checksum(self, path: str) -> str:
        fs, inner = _opened(path)
        return str(fs.ukey(inner))

    def metadata(self, path: str) -> FileMetadata:
        fs, inner = _opened(path)
        with _as_it_was(path):
            return _metadata(path, fs.info(inner))

    def delete(self, paths: Sequence[str]) -> None:
        failed: dict[str, Exception] = {}
        for path in paths:
            fs, inner = _opened(path)
            try:
                fs.rm(inner, recursive=True)
            except FileNotFoundError:
                continue
            except Exception as error:
                failed[path] = error
        if failed:
            raise BeamIOError("Delete operation failed", failed)


_CAUSED = (*_WEB, "hf://")


@contextlib.contextmanager
def _as_it_was(url: str) -> Iterator[None]:
    """Raises the cause of a FileNotFoundError where that says more: of http(s), fsspec says that there is no such file
    also where a server is down for a while. Of other storage the cause says less: of ftp, that a search has come to its
    end."""
    try:
        yield
    except FileNotFoundError as error:
        if error.__cause__ is None or is_absent(error.__cause__) or not url.lower().startswith(_CAUSED):
            raise
        raise error.__cause__ from None


def _opened(url: str) -> tuple[Any, str]:
    """The file system of a url, and what the url is called in it."""
    check_scheme(url)
    scheme = url.partition("://")[0].lower()
    fs, inner = fsspec.core.url_to_fs(url, **fsspec_clients.options_of(scheme))
    fsspec_clients.leave_retries_to_us(scheme, fs)
    return fs, inner


def _metadata(url: str, info: Mapping[str, Any]) -> FileMetadata:
    """Makes a file's metadata: size, time of last change, and what changes with the content, as far as the storage
    tells."""
    stamps = [f"{name}={info[name]}" for name in _STAMPS if info.get(name) is not None]
    updated = next((info[name] for name in ("mtime", "LastModified", "last_modified", "created") if info.get(name)), 0)
    seconds = updated.timestamp() if isinstance(updated, datetime.datetime) else updated
    seconds = float(seconds) if isinstance(seconds, (int, float)) else 0.0
    if info.get("size") is None:
        raise SizeNotToldError("its server does not say how large it is")
    return ObjectMetadata(url, int(info["size"]), seconds, stamps[0] if stamps else f"{seconds:.6f}")


def _file_system(scheme: str) -> type[FileSystem]:
    return type(f"Fsspec_{scheme}", (_ByFsspec, FileSystem), {"scheme": classmethod(lambda cls: scheme)})


FILE_SYSTEMS = tuple(map(_file_system, SCHEMES))
"""Beam finds a url's file system among all subclasses of its own."""
