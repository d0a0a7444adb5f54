"""img2dataset's Parquet beside a shard: NNNNN.parquet has a row for each url of NNNNN.tar, with what was told of it."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from beam_curator.errors import StorageError
from beam_curator.samples import Shard
from beam_curator.storage import files
from beam_curator.storage.retrying import why_permanent

_KEY, _URL = "key", "url"
_OF_OURS = {"shard", "offset", "output_shard"}
"""Columns that img2dataset does not write, and curation does: what stands beside a curated shard."""


def sidecar_path(shard: Shard) -> str | None:
    """Where the Parquet of a shard would be; None where the shard is not called as img2dataset calls it."""
    return f"{shard.path[:-4]}.parquet" if shard.path.endswith(".tar") else None


def sidecar_rows(
    shard: Shard, keys: Sequence[str], urls: Sequence[Any]
) -> tuple[Mapping[str, Mapping[str, Any]], str | None]:
    """What the Parquet beside a shard says of some of its samples.

    Args:
      shard: the tar file.
      keys: n keys of its samples, without directories.
      urls: n urls that the samples themselves say, or None.

    Returns:
      By key what it says; and the file's path if it is there and is not of this shard: it cannot be read, has no keys
      and urls, none of these keys, or another url under one of them. Then it says nothing.

    Raises:
      StorageError: when it is there and cannot be read, after retries.
    """
    path = sidecar_path(shard)
    if path is None or not _is_there(path):
        return {}, None
    table = _table(path, files.size_of(path))
    if table is None:
        return {}, path
    wanted = set(keys)
    found = {}
    for index, key in enumerate(table[_KEY].to_pylist()):
        if key in wanted:
            found[key] = index
    rows = dict(zip(found, table.take(pa.array(list(found.values()), pa.int64())).to_pylist(), strict=True))
    said = {key: url for key, url in zip(keys, urls, strict=True) if url and key in rows}
    if keys and (not rows or any(rows[key][_URL] not in (None, url) for key, url in said.items())):
        return {}, path
    return rows, None


def _is_there(path: str) -> bool:
    """Whether there is such a file. Servers of the web that hide what they have say "no permission" of what is not
    there, S3 among them."""
    try:
        return files.exists(path)
    except StorageError as error:
        if path.lower().startswith(("http://", "https://")) and why_permanent(error) is not None:
            return False
        raise


@functools.lru_cache(maxsize=2)
def _table(path: str, _size: int) -> pa.Table | None:
    """The rows of a file of img2dataset; None for another. Its size tells it from one that stood there before."""
    try:
        table = pq.read_table(pa.BufferReader(files.read_bytes(path)))
    except (pa.ArrowException, OSError, ValueError):
        return None
    names = set(table.schema.names)
    is_text = {_KEY, _URL} <= names and pa.types.is_string(table.schema.field(_KEY).type)
    return table if is_text and not names >= _OF_OURS else None
