"""Tells from their content which files of an output directory a job of ours wrote, since other tools use the same
names.

img2dataset, too, calls its shards 00007.tar, 00007.parquet and 00007_stats.json.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq

from beam_curator import json_text
from beam_curator.errors import JobError, StorageError
from beam_curator.output import added_columns, edge_store, field_store, ledger, plans, score_parts
from beam_curator.output.added_members import CURATION_EXTENSION
from beam_curator.output.placing import shard_name
from beam_curator.output.side_files import check_side_files
from beam_curator.storage import directories, files, urls
from beam_curator.storage.retrying import is_absent, retried

OF_RANGES = {
    plans.PLANS_DIRECTORY: "*.json",
    score_parts.SCORES_DIRECTORY: "*.parquet",
    ledger.LEDGER_DIRECTORY: "*.parquet",
    added_columns.COLUMNS_DIRECTORY: "*/*.parquet",
    field_store.FIELDS_DIRECTORY: "*.parquet",
}
"""The directories of what belongs to shards and ranges, and how it is named there."""

_RANGE_FILE = re.compile(r".+-[0-9a-f]{10}(-\d{5,}(_\d{12,})?)?\.(json|parquet)")
_OUTPUT_SHARD_FILE = re.compile(r"(\d{5,})(\.tar|\.parquet|_stats\.json)")
_THREADS = 16


def is_range_file(name: str) -> bool:
    """Tells whether a file is named as the files of shards and ranges are."""
    return _RANGE_FILE.fullmatch(_name(name)) is not None


def is_of_regathered(name: str) -> bool:
    """Tells whether a file is named as the files of batches are that `BatchSamples` made of a part of a range."""
    match = _RANGE_FILE.fullmatch(_name(name))
    return match is not None and match[2] is not None


def ledger_files(output: str) -> list[str]:
    """The files in `samples/` that are called as ours are, in the order of their names.

    Raises:
      StorageError: when they cannot be listed, after retries.
    """
    found = directories.list_files(urls.join(output, ledger.LEDGER_DIRECTORY), OF_RANGES[ledger.LEDGER_DIRECTORY])
    return sorted(one.path for one in found if is_range_file(one.path) or ledger.is_of_many(one.path))


def output_shard_files(output: str) -> list[tuple[str, int]]:
    """The files of a directory that are called as those of output shards are, with the index of each."""
    found = []
    for metadata in directories.list_files(output):
        index = output_shard_index(_name(metadata.path))
        if index is not None:
            found.append((metadata.path, index))
    return found


def output_shard_index(name: str) -> int | None:
    """The output shard whose file has this name, or None for a name that no output shard's file has."""
    match = _OUTPUT_SHARD_FILE.fullmatch(name)
    return int(match[1]) if match and shard_name(int(match[1])) == match[1] else None


def written_by_jobs(paths: Iterable[str]) -> list[str]:
    """Picks those of these files that a job of ours wrote, each told by its content.

    Raises:
      StorageError: when one cannot be read, after retries.
    """
    listed = list(paths)
    with ThreadPoolExecutor(_THREADS) as pool:
        return [path for path, own in zip(listed, pool.map(is_own, listed), strict=True) if own]


def foreign(paths: Sequence[str]) -> list[str]:
    """Picks those of these files that no job of ours wrote, with a few small reads for each.

    Raises:
      StorageError: when one cannot be read, after retries.
    """
    own = set(written_by_jobs(paths))
    return [path for path in paths if path not in own]


def check_free(output: str, first_foreign: str | None) -> None:
    """Raises JobError if a file that no job wrote stands where an output shard or what is beside it is going to be:
    also in the place of one that a job wrote.

    Args:
      output: the output directory.
      first_foreign: such a file in the place of an output shard, if there is one.
    """
    check_side_files(output)
    if first_foreign is not None:
        raise JobError(
            f"{first_foreign} stands where an output shard goes; no job of Beam Curator wrote it, or it is damaged: "
            "move it away, and run the same command again"
        )


def is_own(path: str) -> bool:
    """Tells whether a job of ours wrote this file, named as one of ours.

    Raises:
      StorageError: when it cannot be read, after retries.
    """
    try:
        return _reads_as_own(path)
    except StorageError as error:
        if is_absent(error):
            return False
        raise


@retried
def _reads_as_own(path: str) -> bool:
    directory, _, name = path.rpartition("/")
    place = directory.rpartition("/")[2]
    if name.endswith(".tar"):
        return _is_own_tar(path)
    if name.endswith(".parquet"):
        if directory.rpartition("/")[0].rpartition("/")[2] == added_columns.COLUMNS_DIRECTORY:
            return _parquet_says(path, added_columns.is_added_columns)
        if directory.rpartition("/")[0].rpartition("/")[2] == edge_store.EDGES_DIRECTORY:
            return _parquet_says(path, edge_store.is_edges)
        if place == field_store.FIELDS_DIRECTORY:
            return _parquet_says(path, field_store.is_fields)
        return _is_part(path) if place == score_parts.SCORES_DIRECTORY else _has_columns(path)
    wanted = _PLAN if place == plans.PLANS_DIRECTORY else _STATISTICS
    return _is_json_with(path, wanted)


_PLAN = ("version", "shard", "range_bytes", "layout")
_STATISTICS = ("content", "samples", "tar_bytes")
_LEDGER_COLUMNS = frozenset({"shard", "key", "offset", "status", "reason", "duplicate_of", "output_shard"})
"""Columns of the ledger and of the rows beside a tar, also in releases that had `uid` in place of `sample_id`."""


def _is_own_tar(path: str) -> bool:
    """Tells whether its first sample has a key of this output shard, and the record that we add to each."""
    index = _name(path).removesuffix(".tar")
    key = None
    try:
        with files.open_for_reading(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                found, _, extension = member.name.partition(".")
                key = found if key is None else key
                if found != key or not found.startswith(index):
                    return False
                if extension == CURATION_EXTENSION:
                    return True
    except tarfile.TarError:
        pass
    return False


def _is_part(path: str) -> bool:
    return _parquet_says(path, score_parts.is_described)


def _has_columns(path: str) -> bool:
    return _parquet_says(path, lambda schema: set(schema.names) >= _LEDGER_COLUMNS)


def _parquet_says(path: str, says: Callable[[pa.Schema], bool]) -> bool:
    try:
        with files.open_for_reading(path) as file:
            return says(pq.read_schema(file))
    except StorageError:
        raise
    except (pa.ArrowException, OSError):
        return False


def _is_json_with(path: str, names: Sequence[str]) -> bool:
    try:
        content = json_text.loads(files.read_bytes(path))
    except ValueError:
        return False
    return isinstance(content, dict) and set(names) <= set(content)


def _name(path: str) -> str:
    return path.rpartition("/")[2]
