"""What decides of each sample whether it is a duplicate."""

import pyarrow as pa
import pytest

from beam_curator.duplicates.arrow_columns import codes_of
from beam_curator.duplicates.competitors import CONTENT_ID, Competitors, competitors_in, hashes_in, samples_of
from beam_curator.duplicates.settings import DuplicateSettings
from beam_curator.errors import JobError


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
    assert [codes.index(code) for code in codes] == [0, 0, 2, 3, 3, 5]
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
