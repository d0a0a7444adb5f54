"""A bucket with as many objects as one likes, none of which is anywhere: names and sizes follow from numbers."""

import bisect
import collections
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from beam_curator.sources import matching
from beam_curator.storage import conditional_writing, files
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
    """Directories of objects that follow from numbers, and beside them what is written; counts requests.

    Attributes:
      listings: by directory, without a slash at its end.
      requests: how many there were of each kind.
    """

    listings: dict[str, Listing] = field(default_factory=dict)
    requests: collections.Counter[str] = field(default_factory=collections.Counter)
    _written: dict[str, bytes] = field(default_factory=dict)

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
        for url, content in sorted(self._written.items()):
            if url.startswith(prefix) and url > after and (below or "/" not in url[len(prefix) :]):
                yield ObjectMetadata(url, len(content), 0.0, f"crc32c:{hash(content)}")

    def read(self, url: str, start: int, end: int | None) -> bytes:
        self.requests["read"] += 1
        return self._written[url][start:end]

    def metadata(self, url: str) -> ObjectMetadata | None:
        self.requests["look"] += 1
        content = self._written.get(url)
        return None if content is None else ObjectMetadata(url, len(content), 0.0, f"crc32c:{hash(content)}")

    def put(self, url: str, content: bytes) -> None:
        self.requests["write"] += 1
        self._written[url] = content

    def begin_upload(self, url: str) -> Upload:
        return _Sent(self, url)

    def delete(self, urls: Sequence[str]) -> None:
        self.requests["delete"] += len(urls)
        for url in urls:
            self._written.pop(url, None)

    def read_versioned(self, url: str) -> Versioned | None:
        content = self._written.get(url)
        return None if content is None else Versioned(content, 0.0, str(hash(content)))

    def put_if(self, url: str, content: bytes, version: str | None) -> bool:
        self.put(url, content)
        return True


class _Sent(Upload):
    def __init__(self, bucket: SimulatedBucket, url: str) -> None:
        self._bucket, self._url, self._parts = bucket, url, list[bytes]()

    def send(self, part: bytes) -> None:
        self._bucket.requests["write"] += 1
        self._parts.append(part)

    def finish(self, rest: bytes) -> None:
        self._bucket.put(self._url, b"".join([*self._parts, rest]))

    def abort(self) -> None:
        self._parts.clear()


def _behind(listing: Listing, place: str, after: str) -> int:
    """The first object behind a name."""
    if not after.startswith(place):
        return 0
    return bisect.bisect_right(range(listing.count), after[len(place) :], key=listing.name)


def stand_in(bucket: SimulatedBucket) -> None:
    """Has this process find the bucket behind every url, and nothing behind paths."""
    for module in (files, matching, conditional_writing):
        module.bucket_of = lambda url: bucket if "://" in url else None  # type: ignore[attr-defined]
