"""Finds the files that a finished job removes: those of an earlier selection that this one does not have.

Nobody holds all names: they are sorted into buckets by the shard that they are of, what belongs and what stands, and
each bucket is looked at by itself.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Iterable, Iterator

from beam_curator.output import added_columns, ledger
from beam_curator.output.belonging import OF_RANGES, is_range_file, output_shard_index, written_by_jobs
from beam_curator.output.plans import plan_of
from beam_curator.samples import ShardRange
from beam_curator.storage import directories, files, urls

BUCKETS = 1024
"""Into so many parts names are sorted."""

PACKED, MOST_WAITING = 100, 100_000
"""So many names of a bucket travel together; a bundle holds so many of all buckets, 17 MB, at most."""

AT_ONCE = 1000
"""So many strays are looked at together."""

OUTPUT_SHARDS = ""
"""The directory of output shards, beside those of `OF_RANGES`."""

_OF_RANGE = re.compile(r"((-\d{5,}(_\d{12,})?)?\.parquet|\.json)$")


def shard_of(name: str) -> str:
    """The `Shard.name` that the name of a plan, a score part or a file of the ledger was made of."""
    return _OF_RANGE.sub("", name.rsplit("/", 1)[-1])


def bucket_of(name: str) -> int:
    """The bucket of a file: all that is of one shard is in one."""
    return zlib.crc32(shard_of(name).encode("utf-8", "surrogateescape")) % BUCKETS


def belonging_to(range: ShardRange) -> list[str]:
    """Names a range's files, but for the ledger's, and its plan, if it has one: without their directories."""
    plan = plan_of(range)
    return [f"{range.name}.parquet", *([plan.rpartition("/")[2]] if plan else [])]


def standing(output: str, directory: str, output_shards: int) -> Iterator[str]:
    """The files that may be strays in one of the directories of `OF_RANGES`, or beside the output shards, by what they
    are called under the output directory.

    Args:
      output: the output directory.
      directory: one of `OF_RANGES`, or `OUTPUT_SHARDS`.
      output_shards: how many the selection has.

    Raises:
      StorageError: when it cannot be listed, after retries.
    """
    if directory == OUTPUT_SHARDS:
        named = ((name, output_shard_index(name)) for name in directories.iter_files(output))
        yield from (name for name, index in named if index is not None and index >= output_shards)
        return
    of_scorers = directory == added_columns.COLUMNS_DIRECTORY
    for name in directories.iter_files(urls.join(output, directory), below=of_scorers):
        ending = OF_RANGES[directory].rpartition("*")[2]
        ours = is_range_file(name) or (directory == ledger.LEDGER_DIRECTORY and ledger.is_of_many(name))
        if name.endswith(ending) and name.count("/") == of_scorers and ours:
            yield f"{directory}/{name}"


def strays(belonging: Iterable[str], there: Iterable[str]) -> list[str]:
    """Picks the files of a bucket that do not belong: a ledger of other ranges, what is of shards that are selected and
    have other ranges now, and output shards beyond the last.

    Plans, score parts and fields of shards not in this selection stay: a model computed them, and the shards may come
    back.

    Args:
      belonging: as `belonging_to` gives them, and the files of the ledger, with their directory.
      there: as `standing` gives them.
    """
    wanted = set(belonging)
    selected = {shard_of(name) for name in wanted}
    return sorted(name for name in there if _is_stray(name, wanted, selected))


def _is_stray(name: str, wanted: set[str], selected: set[str]) -> bool:
    directory, _, base = name.rpartition("/")
    if directory in (OUTPUT_SHARDS, ledger.LEDGER_DIRECTORY):
        return name not in wanted
    return base not in wanted and shard_of(base) in selected


def remove(output: str, names: Iterable[str]) -> int:
    """Removes those of these files that a job of ours wrote; gives how many.

    Raises:
      StorageError: when one cannot be read or removed, after retries.
    """
    paths = (urls.join(output, *name.split("/")) for name in names)
    removed = 0
    while some := list(itertools.islice(paths, AT_ONCE)):
        own = written_by_jobs(some)
        files.delete(own)
        removed += len(own)
    return removed


def packed(names: list[str]) -> bytes:
    """Names of a bucket, compressed together."""
    return zlib.compress("\n".join(sorted(names)).encode("utf-8", "surrogateescape"))


def unpacked(packed: Iterable[bytes]) -> Iterator[str]:
    """The names in what `packed` gave."""
    for one in packed:
        yield from zlib.decompress(one).decode("utf-8", "surrogateescape").split("\n")
