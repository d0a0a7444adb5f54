"""`Bucket`: the interface of an object store: objects, byte ranges, prefixes, uploads."""

from __future__ import annotations

import abc
import dataclasses
import re
from collections.abc import Iterator, Sequence

from apache_beam.io.filesystem import FileMetadata

PART_BYTES = 16 << 20
"""A smaller object is written in one request, a larger one in parts. A multiple of 256 KiB, as GCS wants it."""

CONNECTIONS = 64
"""So many are kept open for the next request. Clients keep 10 by themselves, and warn of each one that they close; two
output shards are written at a time, each over `REQUESTS_AT_ONCE` reads, beside what other threads of a worker ask."""


class ObjectMetadata(FileMetadata):
    """The size and time of last change of an object, and what the service says of its content.

    Args:
      path: its url.
      size_in_bytes: its size.
      last_updated_in_seconds: since 1970.
      content: changes when its content does: a checksum, or an ETag made of some.
    """

    def __init__(self, path: str, size_in_bytes: int, last_updated_in_seconds: float, content: str) -> None:
        super().__init__(path, size_in_bytes, last_updated_in_seconds)
        self.content = content


class Upload(abc.ABC):
    """An object on its way, which nobody sees until it is finished. Dropping it publishes nothing."""

    @abc.abstractmethod
    def send(self, part: bytes) -> None:
        """Adds `PART_BYTES` bytes."""

    @abc.abstractmethod
    def finish(self, rest: bytes) -> None:
        """Adds the last bytes, and publishes the object."""

    @abc.abstractmethod
    def abort(self) -> None:
        """Gives up: the service forgets what it was sent."""


@dataclasses.dataclass(frozen=True)
class Versioned:
    """A small object as it was when it was read.

    Attributes:
      content: its bytes.
      changed: when it was written, in seconds since 1970.
      version: the service's name of this version: the generation, or the ETag.
    """

    content: bytes
    changed: float
    version: str


class Bucket(abc.ABC):
    """The service behind one scheme; urls name its buckets and their objects. Safe to use from many threads."""

    @abc.abstractmethod
    def read(self, url: str, start: int, end: int | None) -> bytes:
        """The bytes of an object from `start` up to `end` (None: up to its end), in one request; b"" beyond its end."""

    @abc.abstractmethod
    def metadata(self, url: str) -> ObjectMetadata | None:
        """Asks for the size, time of last change and content of an object; None if there is none."""

    @abc.abstractmethod
    def list(self, prefix: str, below: bool = True, after: str = "") -> Iterator[ObjectMetadata]:
        """Lists all objects whose url begins like this, page by page, in the order of their names.

        Args:
          prefix: how their urls begin.
          below: whether also those with a further slash in their names.
          after: the url behind which the listing begins; some services give that one again.
        """

    @abc.abstractmethod
    def put(self, url: str, content: bytes) -> None:
        """Writes a small object, in one request."""

    @abc.abstractmethod
    def begin_upload(self, url: str) -> Upload:
        """Begins to write a large object."""

    @abc.abstractmethod
    def delete(self, urls: Sequence[str]) -> None:
        """Deletes objects; absent ones are no error."""

    @abc.abstractmethod
    def read_versioned(self, url: str) -> Versioned | None:
        """A small object with its version, or None if there is none."""

    @abc.abstractmethod
    def put_if(self, url: str, content: bytes, version: str | None) -> bool:
        """Writes a small object if it is still of this version (None: if there is none); gives whether it did."""


def split_url(url: str) -> tuple[str, str]:
    """The bucket's name and the object's.

    Raises:
      ValueError: when the url names no bucket.
    """
    match = re.fullmatch(r"\w+://([^/]+)/?(.*)", url, re.DOTALL)
    if not match:
        raise ValueError(f"{url} does not name a bucket")
    return match[1], match[2]
