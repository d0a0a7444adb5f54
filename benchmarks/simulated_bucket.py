"""A bucket with as many objects as one likes, none of which is anywhere: names and sizes follow from numbers."""

import bisect
import collections
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from beam_curator.sources import matching
from beam_curator.storage import conditional_writing, directories, files
from beam_curator.storage.buckets.bucket import Bucket, ObjectMetadata, Upload, Versioned

ROOT = "gs://simulated"

LISTED_AT_ONCE = 1000
"""So many objects one request lists."""


@dataclass
class Listing:
    """Objects of one directory: `count` of them, of which `name(n)` is the n-th in the order of names."""

    count: int
    name: Callable[[int], str]
    size_bytes: int = 64 << 20


@dataclass(eq=False)
class SimulatedBucket(Bucket):
    """Directories of objects that follow from numbers, and beside them what is written, which lies on disk: its memory
    is none of the command's. Counts requests.

    Attributes:
      listings: by directory, without a slash at its end.
      requests: how many there were of each kind.
      written: where what is written lies, by url.
    """

    listings: dict[str, Listing] = field(default_factory=dict)
    requests: collections.Counter[str] = field(default_factory=collections.Counter)
    written: dict[str, Path] = field(default_factory=dict)
    _disk: tempfile.TemporaryDirectory[str] = field(default_factory=tempfile.TemporaryDirectory)

    def list(self, prefix: str, below: bool = True, after: str = "") -> Iterator[ObjectMetadata]:
        for index, path in enumerate(self._paths(prefix, below, after)):
            if index % LISTED_AT_ONCE == 0:
                self.requests["list"] += 1
            yield path

    def _paths(self, prefix: str, below: bool, after: str) -> Iterator[ObjectMetadata]:
        for directory, listing in self.listings.items():
            place = f"{directory}/"
            if place == prefix or (below and place.startswith(prefix)):
                first = _behind(listing, place, after)
                for number in range(first, listing.count):
                    yield ObjectMetadata(f"{place}{listing.name(number)}", listing.size_bytes, 0.0, f"crc32c:{number}")
        for url, file in sorted(self.written.items()):
            if url.startswith(prefix) and url > after and (below or "/" not in url[len(prefix) :]):
                yield _written(url, file)

    def read(self, url: str, start: int, end: int | None) -> bytes:
        self.requests["read"] += 1
        with self.written[url].open("rb") as file:
            file.seek(start)
            return file.read() if end is None else file.read(end - start)

    def metadata(self, url: str) -> ObjectMetadata | None:
        self.requests["look"] += 1
        file = self.written.get(url)
        return None if file is None else _written(url, file)

    def put(self, url: str, content: bytes) -> None:
        _Sent(self, url).finish(content)

    def new_file(self) -> Path:
        """Makes the path of a file for a writing of an object: its name is its version."""
        return Path(self._disk.name, uuid.uuid4().hex)

    def begin_upload(self, url: str) -> Upload:
        return _Sent(self, url)

    def delete(self, urls: Sequence[str]) -> None:
        self.requests["delete"] += len(urls)
        for url in urls:
            self.written.pop(url, None)

    def read_versioned(self, url: str) -> Versioned | None:
        file = self.written.get(url)
        return None if file is None else Versioned(file.read_bytes(), 0.0, file.name)

    def put_if(self, url: str, content: bytes, version: str | None) -> bool:
        self.put(url, content)
        return True


class _Sent(Upload):
    def __init__(self, bucket: SimulatedBucket, url: str) -> None:
        self._bucket, self._url, self._file = bucket, url, bucket.new_file()

    def send(self, part: bytes) -> None:
        self._bucket.requests["write"] += 1
        with self._file.open("ab") as file:
            file.write(part)

    def finish(self, rest: bytes) -> None:
        self.send(rest)
        self._bucket.written[self._url] = self._file

    def abort(self) -> None:
        self._file.unlink(missing_ok=True)


def _written(url: str, file: Path) -> ObjectMetadata:
    return ObjectMetadata(url, file.stat().st_size, 0.0, f"version:{file.name}")


def _behind(listing: Listing, place: str, after: str) -> int:
    """The first object behind a name."""
    if not after.startswith(place):
        return 0
    return bisect.bisect_right(range(listing.count), after[len(place) :], key=listing.name)


def stand_in(bucket: SimulatedBucket) -> None:
    """Has this process find the bucket behind every url, and nothing behind paths."""
    for module in (files, directories, matching, conditional_writing):
        module.bucket_of = lambda url: bucket if "://" in url else None  # type: ignore[attr-defined]
