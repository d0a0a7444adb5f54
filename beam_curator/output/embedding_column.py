"""Embeddings as a column of Parquet that every reader knows, and back: lists of float32, null for what has none.

Of the types that hold a vector only `list<float32>` is read by all of pandas, polars, DuckDB, fastparquet, Spark and
Beam's own rows; fastparquet reads float16 wrongly, and says nothing. The numbers are those of float16: zstd takes the
bits that are always zero out again.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

EMBEDDING_TYPE = pa.list_(pa.float32())

COMPRESSION_LEVEL = 1
"""Of zstd: 30 % more bytes than float16 as it is; level 3 makes it 19 %, and takes three times as long."""


def embedding_array(embeddings: np.ndarray, nothing: np.ndarray | None = None) -> pa.ListArray:
    """Embeddings as a column.

    Args:
      embeddings: float16 [n, dim].
      nothing: which of them are none, so that no reader takes zeros for a vector: bool [n].
    """
    count, dim = embeddings.shape
    there = np.ones(count, bool) if nothing is None else ~nothing
    offsets = np.concatenate([[0], np.cumsum(there * dim)]).astype(np.int32)
    flat = pa.array(np.ascontiguousarray(embeddings[there], np.float32).reshape(-1))
    return pa.ListArray.from_arrays(pa.array(offsets), flat, mask=pa.array(~there))


def float16_of(column: pa.ChunkedArray | pa.Array, dim: int) -> np.ndarray:
    """The embeddings of a column, float16 [n, dim], zeros where there is none; also of those of earlier releases, which
    had lists of float16 of one length.

    Args:
      column: n lists.
      dim: the length of an embedding, where not one is there to tell it.
    """
    lists = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    there = np.asarray(lists.is_valid())
    flat = lists.flatten().to_numpy(zero_copy_only=False)
    if pa.types.is_fixed_size_list(lists.type):
        dim = lists.type.list_size
    elif there.any():
        dim = len(flat) // int(there.sum())
    if there.all():
        return flat.reshape(len(lists), dim).astype(np.float16, copy=False)
    embeddings = np.zeros((len(lists), dim), np.float16)
    embeddings[there] = flat.reshape(-1, dim)
    return embeddings


def fixed_float16(column: pa.ChunkedArray | pa.Array, dim: int) -> pa.FixedSizeListArray:
    """The same as a column of Arrow that is a matrix in memory: 2 bytes a number, of which rows are taken at once."""
    embeddings = float16_of(column, dim)
    return pa.FixedSizeListArray.from_arrays(pa.array(embeddings.reshape(-1), pa.float16()), embeddings.shape[1])


def lists_of(vectors: list[list[np.ndarray]]) -> pa.ListArray:
    """Several embeddings of each row as one list of all their numbers, one after the other; null for none.

    Args:
      vectors: of each of n rows some embeddings, float16 [dim].
    """
    flat = [np.concatenate(some).astype(np.float32) if some else None for some in vectors]
    return pa.array(flat, EMBEDDING_TYPE)


def lengths_of(column: pa.ChunkedArray) -> np.ndarray:
    """How many numbers each row of `lists_of` has: int64 [n]."""
    return np.asarray(pc.fill_null(pc.list_value_length(column), 0).to_numpy()).astype(np.int64)
