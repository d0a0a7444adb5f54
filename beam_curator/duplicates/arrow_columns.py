"""Columns of Arrow as NumPy has them: equal values by number, values of one length, and some of very many."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from beam_curator.duplicates.scratch import filled, in_ascending_order, laid_aside

_LARGE = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary(), pa.binary(32): pa.large_binary()}
"""The types that hold more, for those of which one array, or what tells its values apart, holds 2 GiB at most."""


def codes_of(column: pa.ChunkedArray | pa.Array) -> NDArray[np.int32]:
    """The same number for equal values, 0 to n: int32 [n], -1 for null. Those of one length, such as digests, are
    sorted: Arrow's table of them would take several times their room."""
    if pa.types.is_fixed_size_binary(column.type):
        return _codes_by_sorting(column)
    chunks = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    encoded = chunks.cast(_LARGE.get(chunks.type, chunks.type)).dictionary_encode()
    codes = [pc.fill_null(chunk.indices, -1).to_numpy() for chunk in encoded.chunks]
    return np.concatenate([np.zeros(0, np.int32), *codes])


def _codes_by_sorting(column: pa.ChunkedArray | pa.Array) -> NDArray[np.int32]:
    values = one_array(column)
    codes = filled(len(values), -1)
    count = 0
    for numbers in in_ascending_order(values):
        run = values[numbers]
        begins = np.ones(len(run), bool)
        begins[1:] = run[1:] != run[:-1]
        codes[numbers] = np.cumsum(begins, dtype=np.int32) + np.int32(count - 1)
        count += int(begins.sum())
    codes[np.asarray(column.is_null())] = -1
    return codes


def one_array(column: pa.ChunkedArray | pa.Array) -> NDArray[np.void]:
    """Values of one length as one array: void [n]; 0 for null."""
    if isinstance(column, pa.Array):
        return fixed_width(column)
    return laid_aside(map(fixed_width, column.chunks), f"V{column.type.byte_width}")


def fixed_width(values: pa.FixedSizeBinaryArray) -> NDArray[np.void]:
    """Values of one length as NumPy has them: void [n]; 0 for null."""
    width = values.type.byte_width
    if values.null_count:
        values = values.fill_null(bytes(width))
    if not len(values):
        return np.zeros(0, f"V{width}")
    return np.frombuffer(values.buffers()[1], f"V{width}", values.offset + len(values))[values.offset :]


def taken(column: pa.ChunkedArray, rows: NDArray[np.int64]) -> pa.Array:
    """Takes values of a column that may have more than 2 GiB, which Arrow's own `take` puts into one array before."""
    wanted, at = np.unique(rows, return_inverse=True)
    chosen = np.zeros(len(column), bool)
    chosen[wanted] = True
    few = column.filter(pa.array(chosen))
    return few.cast(_LARGE.get(few.type, few.type)).combine_chunks().take(pa.array(at.ravel()))
