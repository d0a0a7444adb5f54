"""A folder of images: those at any depth, with the .txt and .json files beside them, and imagefolder's metadata.

`cats/a.jpg` has the members of `cats/a.txt` and `cats/a.json` (or `cats/a.jpg.txt`), as they are. A table
`metadata.csv`, `.jsonl` or `.parquet` says of the files that its column `file_name` names, relative to itself, their
captions and other fields, as Hugging Face's imagefolder has it.
"""

from __future__ import annotations

import dataclasses
import os
import posixpath
from collections.abc import Mapping, Sequence

from apache_beam.io.filesystem import FileMetadata

from beam_curator.defaults import TEXT_MEMBERS
from beam_curator.errors import UsageError
from beam_curator.images import IMAGE_EXTENSIONS
from beam_curator.reading import Reading
from beam_curator.sources import matching
from beam_curator.sources.formats import FOLDER
from beam_curator.sources.keys import unique_keys
from beam_curator.sources.listing import Entry, shards_of
from beam_curator.sources.local_matching import Missing
from beam_curator.sources.shard_identity import KnownShard
from beam_curator.sources.table_fields import texts_of_rows
from beam_curator.sources.table_files import path_column, table_of
from beam_curator.storage import urls
from beam_curator.storage.buckets.bucket import ObjectMetadata
from beam_curator.storage.places import real

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
SIDECARS = (*TEXT_MEMBERS, "json")


def folders(names: Sequence[str], reading: Reading) -> tuple[list[KnownShard], list[Missing]]:
    """The shards of folders, and what is missing. A folder in another one of them is a part of that.

    Args:
      names: as `matching.expand_patterns` gives them: a directory ends with a slash.
      reading: which columns of metadata are meant.

    Raises:
      UsageError: for what is no folder, and metadata that cannot be read.
      StorageError: when one cannot be listed.
    """
    shards: list[KnownShard] = []
    missing: list[Missing] = []
    places = {name: f"{real(name).rstrip('/')}/" for name in names}
    for name, place in places.items():
        if not name.endswith("/") or not (urls.is_remote(name) or os.path.exists(name)):  # noqa: PTH110
            _refuse(name, missing)
            continue
        if any(place != other and place.startswith(other) for other in places.values()):
            continue
        if place in [places[earlier] for earlier in names[: names.index(name)]]:
            continue
        found = matching.find_below(name)
        missing += found.missing
        entries = entries_of(name, found.files, reading)
        if not entries:
            missing.append(Missing(name, f"no image among the {len(found.files):,} files in it"))
        shards += shards_of(name.rstrip("/") or "/", place.rstrip("/") or "/", FOLDER, entries)
    return shards, missing


def _refuse(name: str, missing: list[Missing]) -> None:
    if not urls.is_remote(name) and not os.path.exists(name):  # noqa: PTH110 (pathlib raises)
        missing.append(Missing(name, "there is no such folder"))
        return
    kind = "is no folder: one in a bucket ends with a slash" if urls.is_remote(name) else "is a file, and no folder"
    raise UsageError(f"--input {name}: {kind}")


def entries_of(root: str, files: Sequence[FileMetadata], reading: Reading) -> list[Entry]:
    """The images among files below a folder, in the order of their paths, with what is beside them.

    Args:
      root: the folder, with a slash at its end.
      files: all files below it.
      reading: which columns of metadata are meant.
    """
    by_name = {file.path[len(root) :].lstrip("/"): file for file in files}
    texts, unused = _texts(by_name, reading)
    images = sorted(name for name in by_name if name in texts or _extension(name) in IMAGE_EXTENSIONS)
    sidecars = _sidecars(by_name)
    absent = sorted(name for name in texts if name not in by_name)
    keys = dict(zip([*images, *absent], unique_keys([*images, *absent]), strict=True))
    used: set[str] = set()
    entries = []
    for name in sorted([*images, *absent]):
        if name in by_name:
            beside = _beside(name, sidecars)
            used |= {name, *beside.values()}
            entries.append(_entry(name, keys[name], by_name, beside, texts.get(name, {})))
        else:
            where = "it is outside the folder" if name.startswith(("/", "../")) else "there is no such file"
            entries.append(Entry(name, keys[name], "", failure=f"the metadata names it, and {where}"))
    return _with_passed_over(entries, [name for name in by_name if name not in used], unused)


def _entry(
    name: str, key: str, by_name: Mapping[str, FileMetadata], beside: Mapping[str, str], texts: Mapping[str, str]
) -> Entry:
    file = by_name[name]
    own = {_other(extension, beside): text for extension, text in texts.items()}
    stamp = "\n".join(stamp_of(by_name[one]) for one in (name, *beside.values()))
    paths = {extension: by_name[one].path for extension, one in beside.items()}
    return Entry(name, key, file.path, file.size_in_bytes, stamp, paths, own)


def _other(extension: str, beside: Mapping[str, str]) -> str:
    """Names a member of the metadata, by another name if a file beside the image has its name."""
    return f"metadata.{extension}" if extension in beside else extension


def _sidecars(by_name: Mapping[str, FileMetadata]) -> dict[str, str]:
    """The files that may belong to images, by their names with the extension in lower case."""
    found: dict[str, str] = {}
    for name in sorted(by_name, reverse=True):  # where both are there, in capitals and not, the one that is not
        extension = _extension(name)
        if extension in SIDECARS:
            found.setdefault(f"{name[: -len(extension)]}{extension}", name)
    return found


def _beside(name: str, sidecars: Mapping[str, str]) -> dict[str, str]:
    extension = _extension(name)
    stem = name[: -len(extension) - 1] if extension else name
    found = {one: sidecars.get(f"{stem}.{one}") or sidecars.get(f"{name}.{one}") for one in SIDECARS}
    return {extension: beside for extension, beside in found.items() if beside is not None}


def _texts(by_name: Mapping[str, FileMetadata], reading: Reading) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Reads the tables of metadata in a folder: gives the texts of each file, by its name, and the kind of each row
    that says nothing."""
    texts: dict[str, dict[str, str]] = {}
    unused: list[str] = []
    tables = [name for name in by_name if posixpath.basename(name) in METADATA]
    for named in sorted(tables, key=lambda name: (name.count("/"), name)):
        path = by_name[named].path
        table = table_of(path)
        column = path_column(table.columns, reading.image_column)
        if column is None:
            raise UsageError(
                f"--input {path}: has no column file_name; its columns are {', '.join(table.columns) or 'none'}"
            )
        rows = zip(table.rows, texts_of_rows(path, table, reading.caption_column, without=column), strict=True)
        for row, texts_of_row in rows:
            if not isinstance(row.get(column), str):
                unused.append("row of metadata that names no file")
                continue
            name = posixpath.normpath(posixpath.join(posixpath.dirname(named), row[column]))
            if name in texts:
                unused.append("row of metadata whose file a later row names")
            texts[name] = texts_of_row
    return texts, unused


def _with_passed_over(entries: list[Entry], others: Sequence[str], unused: Sequence[str]) -> list[Entry]:
    """The same entries; the first one also tells of files that belong to none, and of rows of metadata that do not."""
    strange = [name for name in others if posixpath.basename(name) not in METADATA]
    kinds = [*(f"file that is no image ({_told_extension(name)})" for name in strange), *unused]
    if not entries or not kinds:
        return entries
    return [dataclasses.replace(entries[0], passed_over=sorted(kinds)), *entries[1:]]


def stamp_of(file: FileMetadata) -> str:
    """Makes a text that changes when a file does: in buckets what the service says of its content; else its size and
    time of last change, for its content would have to be read."""
    if isinstance(file, ObjectMetadata):
        return file.content
    return f"{file.size_in_bytes} {file.last_updated_in_seconds!r}"


def _told_extension(name: str) -> str:
    extension = _extension(name)
    return f".{extension}" if extension else "no extension"


def _extension(name: str) -> str:
    base = posixpath.basename(name)
    return base.rpartition(".")[2].lower() if "." in base.lstrip(".") else ""
