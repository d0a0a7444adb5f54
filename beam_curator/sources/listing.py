"""Folders and lists of images, cut into shards: runs of files that stay the same when files are added elsewhere.

A shard begins at a file whose path says so (its hash is small enough), not after a number of files. So a file that is
added or removed changes the one shard that it is in; all others keep their name, their content and their scores.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from beam_curator.sources.shard_identity import MARK, KnownShard

SHARD_BYTES, SHARD_FILES = 128 << 20, 1000
"""About what a shard holds: so many bytes, or so many files, whichever comes first."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """An image that a folder holds or a list names.

    Attributes:
      name: what orders and names it: its path below the folder, or as the list has it.
      key: what the sample is called, unique in the folder or list.
      path: where its image is.
      size_bytes: how large that is; 0 where that is not known.
      stamp: changes when the image or another of its files does.
      files: by extension, where its other members are.
      texts: by extension, those that the folder's table or the list gives.
      failure: why there is nothing to read, or None.
      passed_over: kinds of what is met beside it.
    """

    name: str
    key: str
    path: str
    size_bytes: int = 0
    stamp: str = ""
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    texts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    failure: str | None = None
    passed_over: Sequence[str] = ()


def shards_of(root: str, place: str, format: str, entries: Iterable[Entry]) -> list[KnownShard]:
    """The shards of a folder or a list.

    Args:
      root: how the user spells it.
      place: where it is: its real path, or its url.
      format: `FOLDER` or `LIST`.
      entries: in their order, with names of their own.
    """
    shards: list[KnownShard] = []
    for some in _runs(entries):
        first = some[0].name.replace("%", "%25").replace(MARK, "%23") if shards else ""
        digest = hashlib.blake2b(digest_size=16)
        for one in some:
            identity = [one.name, one.key, one.size_bytes, one.stamp, list(one.files), dict(one.texts), one.failure]
            digest.update(json.dumps(identity, sort_keys=True).encode() + b"\n")
        url = f"{root}{MARK}{first}"
        shards.append(
            KnownShard(
                url,
                sum(one.size_bytes for one in some),
                digest.hexdigest(),
                f"{place}{MARK}{first}",
                url,
                format=format,
                listing=packed(some),
            )
        )
    return shards


def _runs(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    run: list[Entry] = []
    for entry in entries:
        if run and _begins_shard(entry):
            yield run
            run = []
        run.append(entry)
    if run:
        yield run


def _begins_shard(entry: Entry) -> bool:
    """Tells whether a shard begins with this file: of so many bytes, or files, one begins one."""
    digest = hashlib.blake2b(entry.name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64 < entry.size_bytes / SHARD_BYTES + 1 / SHARD_FILES


def packed(entries: Sequence[Entry]) -> str:
    """Entries as text that travels with their shard."""
    rows = [[*dataclasses.astuple(entry)] for entry in entries]
    return base64.b85encode(zlib.compress(json.dumps(rows).encode(), 6)).decode()


def unpacked(listing: str) -> list[Entry]:
    """The inverse of `packed`."""
    rows: list[list[Any]] = json.loads(zlib.decompress(base64.b85decode(listing)))
    return [Entry(*row) for row in rows]


def passed_over_in(listing: str, start: int, end: int) -> Counter[str]:
    """Counts, by kind, what was met beside the files from `start` to `end` of a listing."""
    entries = unpacked(listing)[start:end]
    return Counter(kind for entry in entries for kind in entry.passed_over)
