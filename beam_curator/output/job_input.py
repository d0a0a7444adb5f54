"""The input of a job: the shards that its patterns match, without what jobs wrote; and what is missing."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import pathlib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from apache_beam.io.filesystem import FileMetadata

from beam_curator.errors import UsageError
from beam_curator.first_few import counted, listed
from beam_curator.output.output_apart import without_output
from beam_curator.reading import DEFAULT_READING, Reading
from beam_curator.samples import Shard
from beam_curator.sources import matching
from beam_curator.sources.choosing import source_of
from beam_curator.sources.folder import folders
from beam_curator.sources.formats import AUTO, FOLDER, LIST, MDS, PARQUET, WEBDATASET
from beam_curator.sources.image_lists import lists
from beam_curator.sources.input_formats import format_of
from beam_curator.sources.local_matching import Missing
from beam_curator.sources.mds import MDS_ENDINGS
from beam_curator.sources.patterns import TAR_SHARD, Patterns, several
from beam_curator.sources.shard_identity import KnownShard, identify, labelled, with_known_urls
from beam_curator.sources.table_files import PARQUET_ENDINGS
from beam_curator.storage import urls

_UNNAMEABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclasses.dataclass(frozen=True)
class Matched:
    """The shards that the patterns of a job's input match.

    Attributes:
      found: the shards, each once, sorted by the urls by which the job knows them; at least one.
      missing: what the patterns name and is not there.
    """

    found: list[KnownShard]
    missing: list[Missing]

    @functools.cached_property
    def shards(self) -> list[Shard]:
        """The shards, to be read."""
        return [one.shard for one in self.found]

    def check_missing(self) -> None:
        """Raises UsageError where anything is missing."""
        if self.missing:
            count = counted(len(self.missing), "name is", "names are")
            raise UsageError(
                f"--input: {count} missing beside {len(self.found):,} that can be read: "
                f"{listed([str(one) for one in self.missing], matching.SHOWN)}: mend --input, or give --allow_missing "
                "to go on without"
            )


def match_input(
    patterns: Sequence[str],
    output: str | None = None,
    known: Sequence[KnownShard] = (),
    called: Callable[[str], str] = str,
    input_format: str = AUTO,
    reading: Reading = DEFAULT_READING,
) -> Matched:
    """The shards that the patterns match, and what is missing.

    With `output`, what a job wrote to that directory is no input; nor may it hold other files that the patterns match.

    A pattern is a path, a glob, a directory, a brace range such as `{00000..00099}.tar`, several of these with `::`
    between them, or `@LIST`, a file with one on each line; local or in a bucket. A directory with images, and a file
    that lists images, are shards of some of these images each.

    Args:
      patterns: what to match.
      output: the output directory, if it may lie under the patterns.
      known: the shards that a job remembers.
      called: what the job called the file that is found under a path, where the input was moved.
      input_format: what they are, one of `INPUT_FORMATS` or a user's own source.
      reading: how it is to be read.

    Raises:
      UsageError: when no pattern matches anything, or something that is no file; or input of several kinds.
      StorageError: when one cannot be listed.
    """
    format = format_of(patterns, input_format, reading)
    _check_columns(format, reading)
    if reading.group_by_key and format and format != WEBDATASET:
        kind = _KINDS.get(format, f"of --input_format {format}")
        raise UsageError(f"--group_by_key joins members of a tar, and this input is {kind}: leave it out")
    if format in (FOLDER, LIST):
        return _listed(patterns, format, reading, known, called)
    format = "" if format == WEBDATASET else format
    found = matching.find(patterns, source_of(format).endings) if format else matching.find(patterns)
    if output is not None:
        found = dataclasses.replace(found, files=without_output(found.files, patterns, output))
    if not found.files:
        raise _nothing(found.missing, "" if input_format == AUTO else format or "tar")
    return Matched(_identified(found.files, format, known, called), found.missing)


_KINDS = {FOLDER: "a folder", LIST: "a list", PARQUET: "Parquet", MDS: "MDS"}


def _nothing(missing: Sequence[Missing], kind: str) -> UsageError:
    """Makes the error for an input in which nothing is found, of one kind of file, or, where `kind` is "", of any
    kind."""
    if not missing:
        return UsageError("--input is empty: give a path, glob, directory or brace range")
    if kind:
        told = listed([str(one) for one in missing], matching.SHOWN)
        return UsageError(
            f"no shard matches {told}: give --input a path, glob, directory or brace range of {kind} files"
        )
    anything = f"{TAR_SHARD} or a Parquet file, and no image"
    reasons = [dataclasses.replace(one, reason=one.reason.replace(TAR_SHARD, anything)) for one in missing]
    return UsageError(
        f"no shard matches {listed([str(one) for one in reasons], matching.SHOWN)}: give --input tar shards, Parquet "
        "files with images, a folder of images or a list of them: a path, glob, directory or brace range"
    )


def _check_columns(format: str, reading: Reading) -> None:
    """Raises UsageError for columns of what has none."""
    for name in ("image_column", "caption_column"):
        if getattr(reading, name) and format == WEBDATASET:
            raise UsageError(
                f"--{name} {getattr(reading, name)}: tars have no columns: --image_from and --caption_from name members"
            )


def _listed(
    patterns: Sequence[str],
    format: str,
    reading: Reading,
    known: Sequence[KnownShard],
    called: Callable[[str], str],
) -> Matched:
    """The images that folders hold, or lists name."""
    names = matching.expand_patterns(patterns)
    found, missing = folders(names, reading) if format == FOLDER else lists(names, reading)
    if not found:
        raise UsageError(
            f"no image to read in {listed([str(one) for one in missing] or list(patterns), matching.SHOWN)}"
        )
    for one in found:
        if _UNNAMEABLE.search(one.url):
            raise UsageError(f"a name is not UTF-8, or holds control characters: rename {one.url!r}")
    moved = [dataclasses.replace(one, url=called(one.url), place=called(one.place)) for one in found]
    return Matched(labelled(with_known_urls(moved, known), known), missing)


def _identified(
    found: Sequence[FileMetadata],
    format: str,
    known: Sequence[KnownShard] = (),
    called: Callable[[str], str] = str,
) -> list[KnownShard]:
    for file in found:
        _check_name(file.path)
    return identify(found, known, called, format)


def shards_of(found: Iterable[FileMetadata]) -> list[Shard]:
    """The shards that these files are, each once, in the order of their urls.

    Raises:
      UsageError: for what is no file, or cannot be named in the ledger.
      StorageError: when one cannot be read, after retries.
    """
    by_format: dict[str, list[FileMetadata]] = {}
    for file in found:
        name = file.path.lower()
        format = PARQUET if name.endswith(PARQUET_ENDINGS) else MDS if name.endswith(MDS_ENDINGS) else ""
        by_format.setdefault(format, []).append(file)
    shards = [one.shard for format, some in by_format.items() for one in _identified(some, format)]
    return sorted(shards, key=lambda shard: shard.url)


def match_shards(patterns: Patterns, allow_missing: bool = False) -> list[Shard]:
    """The shards that one pattern or several match, each once, in the order of their urls.

    Args:
      patterns: as `match_input` takes them.
      allow_missing: whether to go on without what is missing, where something else is there.

    Raises:
      UsageError: as `match_input`; and, unless `allow_missing`, for a pattern that matches nothing, a link to nothing,
        or a file or directory that cannot be read.
      StorageError: when one cannot be listed.
    """
    matched = match_input(several(patterns))
    if not allow_missing:
        matched.check_missing()
    return matched.shards


def _check_name(path: str) -> None:
    """Raises UsageError for what cannot be read as a shard, or be named in the ledger."""
    if _UNNAMEABLE.search(path):
        raise UsageError(f"a shard's name is not UTF-8, or holds control characters: rename {path!r}")
    local = None if urls.is_remote(path) else pathlib.Path(path)
    if local and local.exists() and not local.is_file():  # a pipe would be waited for without end
        raise UsageError(f"{path} is not a file, but a pipe, device or directory: take it out of --input")


def describe_input(shards: Sequence[Shard], missing: Sequence[Missing] = ()) -> dict[str, Any]:
    """The input as the manifest tells it: how many shards, how many bytes, a SHA-256 of what identifies them, and what
    was missing, if anything was."""
    digest = hashlib.sha256(json.dumps([list(shard.identity.values()) for shard in shards]).encode())
    return {
        "shards": len(shards),
        "bytes": sum(shard.size_bytes for shard in shards),
        "fingerprint": digest.hexdigest(),
        **({"missing": [dataclasses.asdict(one) for one in missing]} if missing else {}),
    }


def urls_and_sizes(shards: Sequence[Shard]) -> str:
    """SHA-256 of which shards these are and how large, as 64 hex digits."""
    return hashlib.sha256(json.dumps([(shard.url, shard.size_bytes) for shard in shards]).encode()).hexdigest()
