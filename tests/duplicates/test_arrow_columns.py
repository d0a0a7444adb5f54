"""Columns of Arrow as NumPy has them, also those of more than 2 GiB."""

import numpy as np
import pyarrow as pa

from beam_curator.duplicates.arrow_columns import codes_of, taken


def column_of_3_gib() -> pa.ChunkedArray:
    """Makes a column as the hashes of 50,000,000 samples are: one array of strings does not hold them."""
    offsets, nothing = pa.py_buffer(np.array([0, 2**30], np.int32)), pa.py_buffer(b"\0")
    null = pa.StringArray.from_buffers(1, offsets, pa.py_buffer(np.zeros(2**30, np.uint8)), nothing)
    return pa.chunked_array([null, null, pa.array(["b", "a"]), null, pa.array(["a", "c", "b"])])


def test_values_of_more_than_2_gib_have_codes() -> None:
    assert codes_of(column_of_3_gib()).tolist() == [-1, -1, 0, 1, -1, 1, 2, 0]
    assert codes_of(pa.array([b"b", None, b"b"])).tolist() == [0, -1, 0]
    assert len(codes_of(pa.chunked_array([], pa.string()))) == 0


def test_of_more_than_2_gib_some_values_are_taken() -> None:
    assert taken(column_of_3_gib(), np.array([6, 2, 6, 5])).to_pylist() == ["c", "b", "c", "a"]
    assert len(taken(column_of_3_gib(), np.zeros(0, np.int64))) == 0
    assert taken(pa.chunked_array([[0.5], [1.5]]), np.array([1, 0])).to_pylist() == [1.5, 0.5]


def test_values_of_one_length_have_codes_wherever_they_lie() -> None:
    values = [b"bb", None, b"b\0", b"\0\0", b"bb", b"aa", b"b\0", None]
    pieces = [
        pa.array([b"zz", *values[:3]], pa.binary(2))[1:],
        pa.nulls(0, pa.binary(2)),
        pa.array(values[3:], pa.binary(2)),
    ]
    codes = codes_of(pa.chunked_array(pieces)).tolist()
    assert [code < 0 for code in codes] == [value is None for value in values]
    assert [codes.index(code) for code in codes] == [values.index(value) for value in values]
    assert len(codes_of(pa.chunked_array([], pa.binary(2)))) == 0
