"""Small pictures of samples, made of their images in the input, each read again by its range."""

from __future__ import annotations

import hashlib
import io
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from beam_curator.errors import CurationError
from beam_curator.images import IMAGE_EXTENSIONS, ImageError, decode
from beam_curator.output.ownership import read_job
from beam_curator.output.score_parts import SCORES_DIRECTORY
from beam_curator.process_tuning import usable_cores
from beam_curator.samples import Shard, readable
from beam_curator.sources.tar.compression import DamagedStreamError, detect_compression, open_tar
from beam_curator.sources.tar.member_table import MEMBERS
from beam_curator.storage import files

SIDE = 168
"""Pixels of the longer side."""

QUALITY, EFFORT = 52, 4
"""Of WebP."""

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
      ledger_file: the name of the ledger's file that has it.
      row: its row there.
    """

    shard: str
    member: str | None
    sha256: str | None
    ledger_file: str
    row: int


class Thumbnail(NamedTuple):
    """A small picture, or why there is none.

    Attributes:
      webp: the encoded picture, or None.
      why: "" where there is one.
    """

    webp: bytes | None
    why: str = ""


def thumbnails(output: str, wanted: Sequence[Wanted]) -> list[Thumbnail]:
    """A thumbnail of each sample, in their order.

    Raises nothing because of what cannot be read: a report is made also where the input is gone.
    """
    found: dict[int, Thumbnail] = {}
    members = _members(output, wanted, found)
    known = _known_shards(output)
    by_shard: dict[str, list[int]] = {}
    for index in sorted(members, key=lambda index: members[index]):
        by_shard.setdefault(wanted[index].shard, []).append(index)
    tasks = list(_bounded(by_shard, members, known, found))
    remote = any(files.is_remote(shard.path) for shard, _, _ in tasks)
    with ThreadPoolExecutor(_REMOTE_THREADS if remote else usable_cores(), "thumbnails") as pool:
        for some in pool.map(lambda task: _of_shard(task, wanted, members), tasks):
            found |= some
    return [found[index] for index in range(len(wanted))]


_Member = tuple[int, int]
"""Where an image begins in the uncompressed tar, and its size."""


def _members(output: str, wanted: Sequence[Wanted], found: dict[int, Thumbnail]) -> dict[int, _Member]:
    """Where the image of each sample stands, as the score parts say; those of which none says it are in `found`."""
    by_file: dict[str, list[int]] = {}
    for number, sample in enumerate(wanted):
        by_file.setdefault(sample.ledger_file, []).append(number)

    def look(item: tuple[str, list[int]]) -> dict[int, _Member | Thumbnail]:
        name, indices = item
        lists = _stored_members(files.join(output, SCORES_DIRECTORY, name))
        return {index: _member_of(lists, wanted[index]) for index in indices}

    places: dict[int, _Member] = {}
    with ThreadPoolExecutor(_REMOTE_THREADS if files.is_remote(output) else 2, "members") as pool:
        for some in pool.map(look, by_file.items()):
            for index, one in some.items():
                if isinstance(one, Thumbnail):
                    found[index] = one
                else:
                    places[index] = one
    return places


def _stored_members(part: str) -> pa.ChunkedArray | None:
    """Where the members of a part's samples stand; None for a part that does not say it."""
    try:
        with files.open_for_reading(part) as file:
            return pq.ParquetFile(file).read(columns=[MEMBERS], use_threads=False)[MEMBERS]
    except (CurationError, OSError, pa.ArrowException, KeyError):
        return None


def _member_of(lists: pa.ChunkedArray | None, one: Wanted) -> _Member | Thumbnail:
    if lists is None or one.row >= len(lists):
        return Thumbnail(None, "its score part is gone, which says where the image stands")
    for member in lists[one.row].as_py() or ():
        extension = readable(member["extension"].decode("utf-8", "surrogateescape"))
        if extension == one.member or (one.member is None and _is_image_name(extension)):
            return member["offset"], member["size"]
    return Thumbnail(None, "no image")


def _is_image_name(extension: str) -> bool:
    return extension.rsplit(".", 1)[-1] in IMAGE_EXTENSIONS


def _known_shards(output: str) -> Mapping[str, Shard]:
    """The shards of the input, by the urls of the ledger, to be read where they stood last."""
    try:
        job = read_job(output)
    except CurationError:
        return {}
    found = {}
    for one in job.shards if job is not None else ():
        there = files.is_remote(one.url) or pathlib.Path(one.url).exists()
        found[one.url] = Shard(one.url, one.size_bytes, one.generation, "" if there else one.place)
    return found


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
        try:
            with files.open_for_reading(shard.path, read_ahead=False) as file:
                compression = detect_compression(file)
        except (CurationError, OSError):
            found |= dict.fromkeys(indices, Thumbnail(None, "its shard can no longer be read"))
            continue
        if compression:
            end = max(sum(members[index]) for index in indices)
            if end > left:
                found |= dict.fromkeys(indices, Thumbnail(None, "in a compressed shard, not read again"))
                continue
            left -= end
        yield shard, compression, indices


def _of_shard(task: _Task, wanted: Sequence[Wanted], members: Mapping[int, _Member]) -> dict[int, Thumbnail]:
    """The thumbnails of one shard's images, by the numbers of their samples."""
    shard, compression, indices = task
    found: dict[int, Thumbnail] = {}
    try:
        with open_tar(Shard(shard.url, shard.size_bytes, location=shard.path), compression, read_ahead=False) as tar:
            for index in indices:
                offset, size = members[index]
                if size > MOST_IMAGE_BYTES:
                    found[index] = Thumbnail(None, "too large to be shown")
                    continue
                tar.seek(offset)
                found[index] = thumbnail(tar.read(size), wanted[index].sha256)
    except (CurationError, OSError, DamagedStreamError):
        gone = Thumbnail(None, "its shard can no longer be read")
        found = {index: found.get(index, gone) for index in indices}
    return found


def thumbnail(data: bytes, sha256: str | None = None) -> Thumbnail:
    """The thumbnail of an encoded image: upright, at most `SIDE` pixels.

    Args:
      data: the image.
      sha256: what it has to have, or None.
    """
    if sha256 and hashlib.sha256(data).hexdigest() != sha256:
        return Thumbnail(None, "its shard has changed since it was scored")
    try:
        picture, _ = decode(data, draft_side=SIDE)
        small = picture.convert("RGB")
        small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
        sink = io.BytesIO()
        small.save(sink, "WEBP", quality=QUALITY, method=EFFORT)
    except (ImageError, OSError, ValueError):
        return Thumbnail(None, "cannot be decoded")
    return Thumbnail(sink.getvalue())
