"""img2dataset's Parquet beside a shard: NNNNN.parquet has a row for each url of NNNNN.tar, with what was told of it."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from beam_curator.errors import StorageError
from beam_curator.samples import Shard
from beam_curator.sources.parquet_claims import decoded, false_claim
from beam_curator.storage import files
from beam_curator.storage.retrying import why_permanent

_KEY, _URL = "key", "url"
_OF_OURS = {"shard", "offset", "output_shard"}
"""Columns that img2dataset does not write, and curation does: what stands beside a curated shard."""

MAX_SIDECAR_BYTES = 256 << 20
"""A larger file is none of img2dataset's, which has a kilobyte for each sample; nor is one of more in memory."""

_ROWS_AT_ONCE = 16
"""So many rows are decoded together, of which each may have the largest value of the file."""


def sidecar_path(shard: Shard) -> str | None:
    """Gives the path that the Parquet file beside a shard has; None where the shard is not named as img2dataset names
    it."""
    return f"{shard.path[:-4]}.parquet" if shard.path.endswith(".tar") else None


def sidecar_rows(
    shard: Shard, keys: Sequence[str], urls: Sequence[Any]
) -> tuple[Mapping[str, Mapping[str, Any]], str | None]:
    """Reads what the Parquet file beside a shard says of some of its samples.

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
    told = _told(path, files.size_of(path))
    if told is None:
        return {}, path
    rows = {key: told[key] for key in keys if key in told}
    said = {key: url for key, url in zip(keys, urls, strict=True) if url and key in rows}
    if keys and (not rows or any(rows[key][_URL] not in (None, url) for key, url in said.items())):
        return {}, path
    return rows, None


def _is_there(path: str) -> bool:
    """Tells whether there is such a file. Servers of the web that hide what they have say "no permission" of what is
    not there, S3 among them."""
    try:
        return files.exists(path)
    except StorageError as error:
        if path.lower().startswith(("http://", "https://")) and why_permanent(error) is not None:
            return False
        raise


@functools.lru_cache(maxsize=2)
def _told(path: str, size_bytes: int) -> Mapping[str, Mapping[str, Any]] | None:
    """The rows of a file of img2dataset by their keys; None for another, and for one of too much. Its size tells it
    from one that stood there before."""
    if size_bytes > MAX_SIDECAR_BYTES:
        return None
    try:
        parquet = pq.ParquetFile(pa.BufferReader(files.read_bytes(path)))
        schema = parquet.schema_arrow
        names = set(schema.names)
        is_text = {_KEY, _URL} <= names and pa.types.is_string(schema.field(_KEY).type)
        if not is_text or names >= _OF_OURS or false_claim(parquet.metadata, size_bytes) is not None:
            return None
        return _by_key(parquet)
    except (pa.ArrowException, OSError, ValueError, OverflowError):
        return None


def _by_key(parquet: pq.ParquetFile) -> Mapping[str, Mapping[str, Any]]:
    """The rows of a file by their keys, the last of each.

    Raises:
      ValueError: where they take too much memory.
    """
    return {row[_KEY]: row for batch in decoded(parquet, _ROWS_AT_ONCE, MAX_SIDECAR_BYTES) for row in batch.to_pylist()}
