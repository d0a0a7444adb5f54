"""Reads from a score part what copying, comparing and verifying need: embeddings, places of members, and what its
footer says."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_curator.output import checked_parquet
from beam_curator.output.embedding_column import (
    float16_of,
    lengths_of,
    of_one_length,
)
from beam_curator.output.score_parts import EMBEDDING, METADATA, MORE_EMBEDDINGS, STORED
from beam_curator.storage import files
from beam_curator.storage.retrying import retried


def count_samples(parts: Sequence[str]) -> int:
    """Counts the samples that have their scores in these parts; a damaged part counts as none.

    Raises:
      StorageError: when one cannot be read, after retries.
    """
    with ThreadPoolExecutor(16) as threads:
        return sum(threads.map(_samples_in, parts))


def embeddings_digest(part: str) -> str | None:
    """Reads the digest that tells a part's embeddings from others: 64 hex digits; None for a part of an earlier
    release, which has none.

    Raises:
      StorageError: when it cannot be read, after retries, or is damaged.
    """
    return _told_in(part).get("embeddings")


def range_in_part(part: str) -> str | None:
    """The `range_fingerprint` that a part was made with. Raises as `embeddings_digest`."""
    return _told_in(part).get("range")


def _told_in(part: str) -> dict[str, Any]:
    with checked_parquet.told_if_damaged(part):
        return dict(json.loads(_metadata_of(part).get(METADATA, b"{}")))


@retried
def _metadata_of(part: str) -> dict[bytes, bytes]:
    with files.open_for_reading(part) as file:
        return pq.read_metadata(file).metadata or {}


@retried
def _samples_in(part: str) -> int:
    try:
        with files.open_for_reading(part) as file:
            return pq.read_metadata(file).num_rows
    except pa.ArrowException:
        return 0


def read_stored(part: str) -> pa.Table:
    """The columns of a part that `read_part` leaves out, embeddings as lists of one length: for `embeddings_of` and
    `MemberTable.of`.

    Raises:
      StorageError: when it cannot be read, after retries, or is damaged.
    """
    content = files.read_bytes(part)
    with checked_parquet.told_if_damaged(part):
        file = checked_parquet.opened(content)
        stored = file.read(columns=list(STORED), use_threads=False)
        return stored.set_column(0, EMBEDDING, of_one_length(stored[EMBEDDING], _dim_of(file)))


def _dim_of(part: pq.ParquetFile) -> int:
    """The length of an embedding in a part without one; parts of earlier releases say it in the column's type."""
    return int(json.loads((part.schema_arrow.metadata or {}).get(METADATA, b"{}")).get("dim", 0))


@functools.lru_cache(maxsize=3)
def stored_in(part: str, _content: str) -> pa.Table:
    """Reads a part as `read_stored` does, and remembers it: a range's kept samples go to several output shards, one
    after the other.

    What shaped the part tells it from one of the same name that stood there before.
    """
    return read_stored(part)


def forget_part(part: str) -> None:
    """Removes a part that is not what its fingerprint says, so that its range is scored anew.

    Raises:
      StorageError: when it cannot be removed, after retries.
    """
    files.delete([part])
    stored_in.cache_clear()


@dataclasses.dataclass(frozen=True)
class StoredEmbeddings:
    """All embeddings of a part.

    Attributes:
      embeddings: float16 [n, dim], of the samples' first images.
      more: float16 [m, dim], of other images of theirs.
      more_of: int64 [m], the sample of each of those, ascending.
    """

    embeddings: np.ndarray
    more: np.ndarray
    more_of: np.ndarray


def read_embeddings(part: str) -> StoredEmbeddings:
    """The embeddings of a part.

    Raises:
      StorageError: when it cannot be read, after retries, or is damaged.
    """
    content = files.read_bytes(part)
    with checked_parquet.told_if_damaged(part):
        file = checked_parquet.opened(content)
        columns = file.read(columns=[EMBEDDING, MORE_EMBEDDINGS])
        embeddings = float16_of(columns[EMBEDDING], _dim_of(file))
        counts = lengths_of(columns[MORE_EMBEDDINGS]) // max(embeddings.shape[1], 1)
        flat = columns[MORE_EMBEDDINGS].combine_chunks().flatten().to_numpy(zero_copy_only=False).astype(np.float16)
        more = flat.reshape(-1, embeddings.shape[1])
    return StoredEmbeddings(embeddings, more, np.repeat(np.arange(len(counts)), counts))


def count_more_embeddings(part: str) -> list[int]:
    """Counts the embeddings that a part has of each sample's other images.

    Raises:
      StorageError: when it cannot be read, after retries.
    """
    found = read_embeddings(part)
    return np.bincount(found.more_of, minlength=len(found.embeddings)).tolist()


def embeddings_of(stored: pa.Table) -> np.ndarray:
    """The embeddings in these rows of what `read_stored` gave: float16 [n, dim]."""
    return float16_of(stored[EMBEDDING], 0)
