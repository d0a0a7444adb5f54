"""Embeddings as a column of Parquet that every reader knows, and back: lists of float32, null for what has none.

Of the types that hold a vector only `list<float32>` is read by all of pandas, polars, DuckDB, fastparquet, Spark and
Beam's own rows; fastparquet reads float16 wrongly, and says nothing. The numbers are those of float16, of which there
are 65,536 at most: with a dictionary of them a number takes 15 bits, fewer than zstd makes of it, and in a quarter of
the time.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

EMBEDDING_TYPE = pa.list_(pa.float32())


def in_dictionaries(names: Iterable[str]) -> list[str]:
    """The columns of numbers in these columns of embeddings, for `use_dictionary` of whoever writes them."""
    return [f"{name}.list.element" for name in names]


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
    return _matrix(column, dim).astype(np.float16, copy=False)


def of_one_length(column: pa.ChunkedArray | pa.Array, dim: int) -> pa.FixedSizeListArray:
    """The same as a column of Arrow that is a matrix in memory, of which rows are taken at once: `float16_of` of those
    is what it is of them all."""
    matrix = _matrix(column, dim)
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), matrix.shape[1])


def _matrix(column: pa.ChunkedArray | pa.Array, dim: int) -> np.ndarray:
    """Float16 or float32 [n, dim], as the column has it."""
    lists = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    there = np.asarray(lists.is_valid())
    flat = lists.flatten().to_numpy(zero_copy_only=False)
    if pa.types.is_fixed_size_list(lists.type):
        dim = lists.type.list_size
    elif there.any():
        dim = len(flat) // int(there.sum())
    if there.all():
        return flat.reshape(len(lists), dim)
    embeddings = np.zeros((len(lists), dim), flat.dtype)
    embeddings[there] = flat.reshape(-1, dim)
    return embeddings


def lists_of(vectors: list[list[np.ndarray]]) -> pa.ListArray:
    """Several embeddings of each row as one list of all their numbers, one after the other; null for none.

    Args:
      vectors: of each of n rows some embeddings, float16 [dim].
    """
    flat = [np.concatenate(some).astype(np.float32) if some else None for some in vectors]
    return pa.array(flat, EMBEDDING_TYPE)


def lengths_of(column: pa.ChunkedArray) -> np.ndarray:
    """Counts the numbers in each row of `lists_of`: int64 [n]."""
    return np.asarray(pc.fill_null(pc.list_value_length(column), 0).to_numpy()).astype(np.int64)
