"""Tells which shard a file is by what it holds and where it stands, not by times of change or the spelling of its path.

A job remembers its shards in job.json. A later run finds each of them again by its real path, by its url, or, where it
was moved or copied, by its name and content; it keeps the url that it had, by which the
ledger calls it, and the label, of which the ids of its samples are made.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import hashlib
import os
import pathlib
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

from apache_beam.io.filesystem import FileMetadata

from beam_curator.samples import Shard
from beam_curator.sources.formats import FOLDER, LIST
from beam_curator.storage.buckets.bucket import ObjectMetadata
from beam_curator.storage.retrying import naming, retried
from beam_curator.storage.urls import is_remote

PIECES, PIECE_BYTES = 32, 32 << 10
"""The pieces that are read of a large local file to tell it from others: its beginning, its end, and pieces between
them."""

WHOLE_BYTES = 8 << 20
"""A local file up to this is read whole."""

MARK = "#"
"""The mark in a shard's url between a folder or list and its first file, in whose name there is none."""

_THREADS = 16


@dataclasses.dataclass(frozen=True, slots=True)
class KnownShard:
    """A shard as job.json remembers it.

    Attributes:
      url: its url in the ledger.
      size_bytes: its size in storage.
      generation: as `Shard.generation` (see `generation_of`); "" where that is not known.
      place: its real path, or its url in a bucket.
      path: the path or url as the patterns of this run spell it; "" if this run does not read it.
      matched: whether it was in the input of the last run.
      label: as `Shard.label`; "" where that is not decided yet.
      format: as `Shard.format`.
      listing: as `Shard.listing`; job.json does not keep it.
    """

    url: str
    size_bytes: int
    generation: str
    place: str
    path: str = ""
    matched: bool = True
    label: str = dataclasses.field(default="", compare=False)
    format: str = ""
    listing: str = ""

    @property
    def shard(self) -> Shard:
        """The shard, to be read where it stands now."""
        location = "" if self.path == self.url else self.path
        return Shard(
            self.url, self.size_bytes, self.generation, location, self.label, format=self.format, listing=self.listing
        )

    def renamed(self, url: str, label: str) -> KnownShard:
        """The same under another name: what `dataclasses.replace` gives, in a fraction of its time for a million."""
        where = (self.place, self.path, self.matched)
        return KnownShard(url, self.size_bytes, self.generation, *where, label, self.format, self.listing)

    def remembered(self, matched: bool) -> KnownShard:
        """The same as job.json has it, whatever its path is now."""
        return KnownShard(
            self.url,
            self.size_bytes,
            self.generation,
            self.place,
            "",
            matched,
            self.label,
            self.format,
            self.listing,
        )

    def same_content(self, other: KnownShard) -> bool:
        """Tells whether both shards have the same content."""
        return (self.size_bytes, self.generation) == (other.size_bytes, other.generation)


def identify(
    files: Sequence[FileMetadata],
    known: Sequence[KnownShard] = (),
    called: Callable[[str], str] = str,
    format: str = "",
) -> list[KnownShard]:
    """The shards that these files are, in the order of their urls. A file that is found under several names is one.

    Args:
      files: the files.
      known: the shards that a job remembers.
      called: what the job called the file that is found under a path, where the input was moved.
      format: as that of `Shard`.

    Raises:
      StorageError: when a file cannot be read, after retries.
    """
    places: dict[str, FileMetadata] = {}
    for file in sorted(files, key=lambda file: file.path):
        places.setdefault(place_of(file.path), file)

    def described(file: FileMetadata) -> KnownShard:
        path, place = called(file.path), place_of(called(file.path))
        return KnownShard(path, file.size_in_bytes, generation_of(file), place, file.path, format=format)

    # What is in our buckets is told by its listing; a local file is read for it.
    listed = [described(file) for file in places.values() if isinstance(file, ObjectMetadata)]
    others = [file for file in places.values() if not isinstance(file, ObjectMetadata)]
    with ThreadPoolExecutor(_THREADS) as threads:
        return labelled(with_known_urls([*listed, *threads.map(described, others)], known), known)


def with_known_urls(shards: Sequence[KnownShard], known: Sequence[KnownShard]) -> list[KnownShard]:
    """Gives these shards the urls by which a job knows them; those that it does not know keep their own. Sorted by url.

    No two get the same url: one whose own is taken gets its real path.
    """
    urls: dict[str, str] = {}
    left = {shard.url: shard for shard in known}
    for same in (_same_place, _same_url, _same_name_and_content, _same_files):
        candidates = {same(shard): shard for shard in sorted(left.values(), key=lambda shard: shard.url, reverse=True)}
        for shard in shards:
            candidate = candidates.get(same(shard)) if shard.place not in urls else None
            if candidate is not None and candidate.url in left:
                urls[shard.place] = left.pop(candidate.url).url
    taken = {shard.url for shard in known}
    for shard in shards:
        if shard.place not in urls:
            urls[shard.place] = shard.place if shard.url in taken else shard.url
    called = ((shard, urls[shard.place]) for shard in shards)
    named = (shard if shard.url == url else shard.renamed(url, shard.label) for shard, url in called)
    return sorted(named, key=lambda shard: shard.url)


def labelled(shards: Sequence[KnownShard], known: Sequence[KnownShard] = ()) -> list[KnownShard]:
    """Gives these shards the labels by which a job knows them. Any other gets its file name; or, where shards of
    several directories have that name, as many directories before it as tell it from all of them.

    So it is not told by where the input lies as a whole: a copy of it elsewhere has the same labels.

    Args:
      shards: the shards, under the urls by which the job knows them.
      known: the shards that the job remembers.
    """
    labels = {shard.url: shard.label for shard in known if shard.label}
    urls = {shard.url for shard in (*shards, *known)}
    labels |= _shortest_ends([url for url in sorted(urls) if url not in labels], urls, set(labels.values()))
    called = ((shard, labels[shard.url]) for shard in shards)
    return [shard if shard.label == label else shard.renamed(shard.url, label) for shard, label in called]


def _shortest_ends(wanted: Sequence[str], urls: Collection[str], taken: Collection[str]) -> dict[str, str]:
    """Finds for each of these urls the shortest end, in whole names, that no other url has and that is not taken."""
    ends: dict[str, str] = {}
    left = list(wanted)
    parts = 1
    while left:
        counts = collections.Counter(_end(url, parts) for url in urls)
        for url in left:
            end = _end(url, parts)
            if counts[end] == 1 and end not in taken:
                ends[url] = end
            elif end == url:  # it is the end of another one, or a label that was given before
                ends[url] = f"./{end}"
        left = [url for url in left if url not in ends]
        parts += 1
    return ends


def _end(url: str, parts: int) -> str:
    """The last names of a url; all of it where it has no more."""
    return "/".join(url.split("/")[-parts:])


def has_changed_unnoticed(shard: Shard) -> bool:
    """Tells whether a shard that does not hold what was scored looks as if it did: a large local file was changed in
    place, between the pieces that are read of it.

    Raises:
      StorageError: when it cannot be read, after retries.
    """
    if shard.listing:
        return True
    return not is_remote(shard.path) and _content_of(shard.path) == shard.generation


def _same_place(shard: KnownShard) -> object:
    return shard.place


def _same_url(shard: KnownShard) -> object:
    return shard.url


def _same_name_and_content(shard: KnownShard) -> object:
    return shard.url.rsplit("/", 1)[-1], shard.size_bytes, shard.generation or shard.url


def _same_files(shard: KnownShard) -> object:
    """Makes a key under which a folder or list that has another name now is found again; shards that are files match
    none by it."""
    if root_of(shard) is None:
        return shard.place
    return shard.url.rpartition(MARK)[2], shard.size_bytes, shard.generation


def root_of(shard: KnownShard) -> str | None:
    """The folder or list that a shard of some of its files is of; None of a shard that is a file."""
    return shard.place.rpartition(MARK)[0] if shard.format in (FOLDER, LIST) else None


def place_of(path: str) -> str:
    """The real path of a file, or its url in a bucket, however it is spelled."""
    return path if is_remote(path) else os.path.realpath(path)


def generation_of(file: FileMetadata) -> str:
    """Makes a text that changes when a file's content does: see `Shard.generation`.

    In our buckets it is what the service says of the content, which costs nothing; of a local file it is a hash of all
    or of pieces of it; on other file systems the time of last change.

    Raises:
      StorageError: when the file cannot be read, after retries.
    """
    if isinstance(file, ObjectMetadata):
        return file.content
    if is_remote(file.path):
        return f"{file.last_updated_in_seconds or 0:.6f}"
    return _content_of(file.path)


def _content_of(path: str) -> str:
    """A hash of a local file's size and content: of all of it, or of pieces spread evenly over it."""
    with naming("read", path):
        status = pathlib.Path(path).stat()
    return _hashed(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@functools.lru_cache(maxsize=1 << 17)
@retried
def _hashed(path: str, *_stamp: int) -> str:
    """Read once in a process while the times of change stay the same: a command matches its input more than once."""
    digest = hashlib.blake2b(digest_size=16)
    with naming("read", path), pathlib.Path(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest.update(f"{size}\n".encode())
        if size <= WHOLE_BYTES:
            digest.update(file.read())
        else:
            for piece in range(PIECES):
                digest.update(_piece(file, (size - PIECE_BYTES) * piece // (PIECES - 1)))
    return digest.hexdigest()


def _piece(file: BinaryIO, start: int) -> bytes:
    file.seek(start)
    return file.read(PIECE_BYTES)
