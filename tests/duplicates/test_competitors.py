"""What decides of each sample whether it is a duplicate."""

import numpy as np
import pyarrow as pa
import pytest

from beam_curator.duplicates.competitors import (
    CONTENT_ID,
    Competitors,
    codes_of,
    competitors_in,
    hashes_in,
    samples_of,
    taken,
)
from beam_curator.duplicates.settings import DuplicateSettings
from beam_curator.errors import JobError


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


@pytest.mark.parametrize("text", ["zz" * 32, "ff", "ff" * 31 + "  "], ids=["digits", "length", "blanks"])
def test_hashes_that_are_none_are_told(text: str) -> None:
    table = pa.table({"phash256": ["0" * 64, text], "texture": [100, 100]})
    with pytest.raises(JobError, match=r"that are none: .* is not 64 hex digits"):
        hashes_in(table)


def test_a_copy_is_told_by_its_digest_and_by_other_text_where_there_is_none() -> None:
    texts = ["ab" * 32, "AB" * 32, "cd" * 32, "xy", "xy", None]
    table = pa.table({"sample_id": list("abcdef"), "status": ["kept"] * 6, "sha256": texts})
    for name in ("width", "height", "bytes"):
        table = table.append_column(name, pa.array(range(6)))
    competing = competitors_in(table, DuplicateSettings(["exact"]))
    codes = codes_of(competing[CONTENT_ID]).tolist()
    assert [codes.index(one) for one in codes] == [0, 0, 2, 3, 3, 5]
    assert codes[5] == -1


def test_outputs_may_have_scores_of_one_name_that_are_numbers_flags_and_text() -> None:
    scores = [[0.5, 2.5], [False, True], ["b", "a"], [None, 1.0]]
    settings = DuplicateSettings(["exact"], keep="aesthetic", against=["x", "y", "z"])
    facts = {name: pa.array([1, 1]) for name in ("width", "height", "bytes")} | {"status": ["kept"] * 2}
    tables = [
        pa.table({"sample_id": [f"{at}a", f"{at}b"], "sha256": pa.nulls(2, pa.string()), "aesthetic": score, **facts})
        for at, score in enumerate(scores)
    ]
    sets = [[Competitors("", "", 0, "", competitors_in(table, settings))] for table in tables]
    samples = samples_of(sets, settings)
    ids = samples.table["sample_id"].to_pylist()
    assert [ids[row] for row in samples.order] == ["0b", "0a", "1b", "1a", "2a", "2b", "3b", "3a"]


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
