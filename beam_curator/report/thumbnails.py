"""Small pictures of samples, made of their images in the input, each read again by its range."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import pathlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from beam_curator.errors import CurationError, StorageError
from beam_curator.images import IMAGE_EXTENSIONS, ImageError, decode
from beam_curator.output.job_file import Job, read_job
from beam_curator.output.job_input import match_input
from beam_curator.output.manifest import read_manifest
from beam_curator.output.moved_input import Move
from beam_curator.output.score_parts import SCORES_DIRECTORY
from beam_curator.process_tuning import usable_cores
from beam_curator.reading import DEFAULT_READING, Reading
from beam_curator.samples import Shard, readable
from beam_curator.sources.choosing import source_of
from beam_curator.sources.formats import MDS, PARQUET
from beam_curator.sources.source import UnreadableShard
from beam_curator.sources.tar.compression import DamagedStreamError, detect_compression, open_tar
from beam_curator.sources.tar.member_table import MEMBERS
from beam_curator.storage import files, urls
from beam_curator.storage.retrying import retried, why_permanent

T = TypeVar("T")

SIDE = 168
"""Pixels of the longer side."""

QUALITY, EFFORT = 52, 4
"""The quality and the effort of WebP."""

MOST_IMAGE_BYTES = 64 << 20
"""A larger image is not read for a thumbnail."""

MOST_DECOMPRESSED_BYTES = 512 << 20
"""So much of compressed shards is decompressed for all thumbnails together: each read begins at the beginning."""

_REMOTE_THREADS = 16


class Wanted(NamedTuple):
    """A sample whose picture is wanted.

    Attributes:
      shard: as the ledger calls it.
      member: the extension of its image; None where the ledger does not tell.
      sha256: of the image; None where the ledger does not tell.
      ledger_file: what the score part of its range is called.
      row: its row there.
      offset: as the ledger has it: in a shard that is no tar, the row of that.
    """

    shard: str
    member: str | None
    sha256: str | None
    ledger_file: str
    row: int
    offset: int = 0


class Thumbnail(NamedTuple):
    """A small picture, or why there is none.

    Attributes:
      webp: the encoded picture, or None.
      why: "" where there is one.
    """

    webp: bytes | None
    why: str = ""


def thumbnails(output: str, wanted: Sequence[Wanted], input_root: str | None = None) -> list[Thumbnail]:
    """A thumbnail of each sample, in their order.

    A report is made also where the input is gone: what cannot be read is told in place of its picture.

    Args:
      output: the output directory.
      wanted: the samples.
      input_root: where the input is now, if it was moved: what stands for the deepest directory that held all of it.

    Raises:
      StorageError: for a fault of storage that may pass, after retries.
    """
    found: dict[int, Thumbnail] = {}
    job = _job(output)
    reading = _reading(output)
    move = Move.to(input_root, job.inputs if job is not None else ())
    known = _known_shards(output, job, {one.shard for one in wanted}, reading, move)
    scores = job.scores_in(output) if job is not None else output
    rows = {index: (one.offset, 0) for index, one in enumerate(wanted) if _format(known, one.shard)}
    members = rows | _members(scores, wanted, [index for index in range(len(wanted)) if index not in rows], found)
    by_shard: dict[str, list[int]] = {}
    for index in sorted(members, key=lambda index: members[index]):
        by_shard.setdefault(wanted[index].shard, []).append(index)
    tasks = list(_bounded(by_shard, members, known, found))
    remote = any(urls.is_remote(shard.path) for shard, _, _ in tasks)
    with ThreadPoolExecutor(_REMOTE_THREADS if remote else usable_cores(), "thumbnails") as pool:
        for some in pool.map(lambda task: _of_task(task, wanted, members, reading), tasks):
            found |= some
    return [found[index] for index in range(len(wanted))]


_Member = tuple[int, int]
"""The place and the size of an image in the uncompressed tar; in other formats the row of its shard, and 0."""


def _members(
    output: str, wanted: Sequence[Wanted], numbers: Sequence[int], found: dict[int, Thumbnail]
) -> dict[int, _Member]:
    """Finds where the images of some samples stand, as the score parts say; those of which none says it are put into
    `found`."""
    by_file: dict[str, list[int]] = {}
    for number in numbers:
        by_file.setdefault(wanted[number].ledger_file, []).append(number)

    def look(item: tuple[str, list[int]]) -> dict[int, _Member | Thumbnail]:
        name, indices = item
        lists = _stored_members(urls.join(output, SCORES_DIRECTORY, name))
        return {index: _member_of(lists, wanted[index]) for index in indices}

    places: dict[int, _Member] = {}
    with ThreadPoolExecutor(_REMOTE_THREADS if urls.is_remote(output) else 2, "members") as pool:
        for some in pool.map(look, by_file.items()):
            for index, one in some.items():
                if isinstance(one, Thumbnail):
                    found[index] = one
                else:
                    places[index] = one
    return places


def _stored_members(part: str) -> pa.ChunkedArray | None:
    """Reads where the members of a part's samples stand; None for a part that does not say it."""

    def read() -> pa.ChunkedArray | None:
        with files.open_for_reading(part) as file:
            return pq.ParquetFile(file).read(columns=[MEMBERS], use_threads=False)[MEMBERS]

    return _read(read, None)


def _read(read: Callable[[], T], otherwise: T) -> T:
    """Returns what `read` gives, tried again where a fault may pass; `otherwise` where it cannot be read, however
    often.

    Raises:
      StorageError: for a fault that may pass, and did not.
    """
    try:
        return retried(read)()
    except StorageError as error:
        if why_permanent(error) is None:
            raise
        return otherwise
    except (CurationError, UnreadableShard, DamagedStreamError, pa.ArrowException, OSError, ValueError, KeyError):
        return otherwise


def _member_of(lists: pa.ChunkedArray | None, one: Wanted) -> _Member | Thumbnail:
    if lists is None or one.row >= len(lists):
        return _NO_PART
    for member in lists[one.row].as_py() or ():
        extension = readable(member["extension"].decode("utf-8", "surrogateescape"))
        if extension == one.member or (one.member is None and _is_image_name(extension)):
            return member["offset"], member["size"]
    return Thumbnail(None, "no image")


def _is_image_name(extension: str) -> bool:
    return extension.rsplit(".", 1)[-1] in IMAGE_EXTENSIONS


def _job(output: str) -> Job | None:
    try:
        return read_job(output)
    except CurationError:
        return None


def _reading(output: str) -> Reading:
    """Reads from the manifest how the shards were read; the default where it says no one way."""
    try:
        return Reading(**(read_manifest(output) or {})["reading"])
    except (CurationError, KeyError, TypeError):
        return DEFAULT_READING


def _known_shards(
    output: str, job: Job | None, wanted: Collection[str], reading: Reading, move: Move
) -> Mapping[str, Shard]:
    """The shards of the input, by the urls of the ledger, to be read where they stood last, or were moved to."""
    found: dict[str, Shard] = {}
    if job is None:
        return found
    for one in job.shards:
        url = move.there(one.url)
        there = urls.is_remote(url) or pathlib.Path(url).exists()
        found[one.url] = dataclasses.replace(one, path=url if there else one.place).shard
    for format in {_format(found, url) for url in wanted} - {"", PARQUET, MDS}:
        with contextlib.suppress(CurationError, OSError):  # what is in a folder is not remembered
            patterns = list(map(move.there, job.inputs))
            matched = match_input(patterns, output, job.shards, move.back, format, reading)
            found |= {shard.url: shard for shard in matched.shards}
    return found


def _format(known: Mapping[str, Shard], url: str) -> str:
    return known[url].format if url in known else ""


_Task = tuple[Shard, str, list[int]]
"""A shard to be read, its compression, and whose images stand in it."""


def _bounded(
    by_shard: Mapping[str, list[int]],
    members: Mapping[int, _Member],
    known: Mapping[str, Shard],
    found: dict[int, Thumbnail],
) -> Iterator[_Task]:
    """The shards that are read, with their compression; those that would take too much decompressing are left out."""
    left = MOST_DECOMPRESSED_BYTES
    for url, indices in sorted(by_shard.items()):
        shard = known.get(url, Shard(url, 0))
        if shard.format:
            yield shard, "", indices
            continue
        compression = _read(functools.partial(_compression_of, shard), None)
        if compression is None:
            found |= dict.fromkeys(indices, _GONE)
            continue
        if compression:
            end = max(sum(members[index]) for index in indices)
            if end > left:
                found |= dict.fromkeys(indices, Thumbnail(None, "in a compressed shard, not read again"))
                continue
            left -= end
        yield shard, compression, indices


def _compression_of(shard: Shard) -> str | None:
    with files.open_for_reading(shard.path, read_ahead=False) as file:
        return detect_compression(file)


def _of_task(
    task: _Task, wanted: Sequence[Wanted], members: Mapping[int, _Member], reading: Reading
) -> dict[int, Thumbnail]:
    """The thumbnails of one shard's images, by the numbers of their samples."""

    def read() -> dict[int, Thumbnail]:
        return _of_rows(task, wanted, reading) if task[0].format else _of_tar(task, wanted, members)

    return _read(read, dict.fromkeys(task[2], _GONE))


def _of_rows(task: _Task, wanted: Sequence[Wanted], reading: Reading) -> dict[int, Thumbnail]:
    shard, _, indices = task
    ordered = sorted(indices, key=lambda index: wanted[index].offset)
    records = source_of(shard.format, reading).read(shard, [wanted[index].offset for index in ordered])
    found = {}
    for index, record in zip(ordered, records, strict=True):
        data = record.members.get(wanted[index].member or "")
        found[index] = Thumbnail(None, "no image") if data is None else thumbnail(bytes(data), wanted[index].sha256)
    return found


_GONE = Thumbnail(None, "its shard can no longer be read")
_NO_PART = Thumbnail(None, "its score part is gone or damaged, which says where the image stands")
_CHANGED = Thumbnail(None, "its shard has changed since it was scored")

LOST = frozenset({_GONE.why, _NO_PART.why, _CHANGED.why})
"""Why there is no picture where there was an image when it was scored."""


def _of_tar(task: _Task, wanted: Sequence[Wanted], members: Mapping[int, _Member]) -> dict[int, Thumbnail]:
    shard, compression, indices = task
    found = {}
    with open_tar(Shard(shard.url, shard.size_bytes, location=shard.path), compression, read_ahead=False) as tar:
        for index in indices:
            offset, size = members[index]
            if size > MOST_IMAGE_BYTES:
                found[index] = Thumbnail(None, "too large to be shown")
                continue
            tar.seek(offset)
            found[index] = thumbnail(tar.read(size), wanted[index].sha256)
    return found


def thumbnail(data: bytes, sha256: str | None = None) -> Thumbnail:
    """The thumbnail of an encoded image: upright, at most `SIDE` pixels.

    Args:
      data: the image.
      sha256: what it has to have, or None.
    """
    if sha256 and hashlib.sha256(data).hexdigest() != sha256:
        return _CHANGED
    try:
        picture, _ = decode(data, draft_side=SIDE)
        small = picture.convert("RGB")
        small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
        sink = io.BytesIO()
        small.save(sink, "WEBP", quality=QUALITY, method=EFFORT)
    except (ImageError, OSError, ValueError):
        return Thumbnail(None, "cannot be decoded")
    return Thumbnail(sink.getvalue())
