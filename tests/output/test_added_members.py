"""What curation adds to a sample: the embedding as numpy writes it, the record as json writes it."""

import io
import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from beam_curator import rows
from beam_curator.identities import ModelIdentity
from beam_curator.output.added_members import curation_files, curation_record, embedding_files, own_extension
from tests.examples import examples

TEXT = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ROWS = st.fixed_dictionaries(
    {
        "key": TEXT,
        "shard": TEXT,
        "offset": st.integers(0, 1 << 50),
        "width": st.none() | st.integers(0, 1 << 30),
        "reason": TEXT,
        "aesthetic": st.none() | st.floats(width=32),
        'of "50 %s"\n%': st.floats(width=32, allow_nan=False),
        "output_key": TEXT,
    }
)
IDENTITIES = [ModelIdentity("v2", "aa", precision="fp32"), ModelIdentity("é\n%s", trained=False, notes=("%d", "b"))]
MODELS = st.dictionaries(st.sampled_from(["embedding", "nsfw 100 %d"]), st.sampled_from(IDENTITIES))


@pytest.mark.slow
@examples(300)
@given(st.lists(ROWS, min_size=1, max_size=5), MODELS)
@example([{"key": "a\n\u2028%", "offset": 1, "aesthetic": 4.1}], {})
@example([{"key": "a"}], {})
def test_records_are_what_json_writes_of_each_row_with_sorted_names(dicts, models):
    table = rows.from_dicts(dicts)
    records = [curation_record(table.slice(index, 1), models) for index in range(len(table))]
    due = [json.dumps(record, sort_keys=True, ensure_ascii=False).encode() for record in records]
    assert [record.encode() for record in curation_files(table, models).to_pylist()] == due


def test_no_rows_have_no_records():
    assert (
        curation_files(
            rows.from_dicts([{"key": "a", "aesthetic": 1.0}]).slice(1), {"embedding": ModelIdentity("x")}
        ).to_pylist()
        == []
    )
    assert curation_files(rows.from_dicts([{"key": "a"}]).slice(1), {}).to_pylist() == []


def test_rows_in_several_chunks_are_one_after_the_other():
    tables = [rows.from_dicts([{"key": key, "aesthetic": score}]) for key, score in (("a", 1.0), ("b", 2.0))]
    found = [json.loads(record) for record in curation_files(pa.concat_tables(tables), {}).to_pylist()]
    assert [(record["input_key"], record["scores"]) for record in found] == [
        ("a", {"aesthetic": 1.0}),
        ("b", {"aesthetic": 2.0}),
    ]


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("dim", [1, 6, 768])
def test_embeddings_are_the_files_that_numpy_writes(count, dim):
    every_other = np.random.default_rng(1).normal(size=(2 * count, dim)).astype(np.float16)[::2]
    due = []
    for embedding in every_other:
        file = io.BytesIO()
        np.save(file, embedding)
        due.append(file.getvalue())
    assert [file.tobytes() for file in embedding_files(every_other)] == due


@pytest.mark.parametrize(
    ("extension", "kept"),
    [
        ("jpg", "jpg"),
        ("clip.npy", "input.clip.npy"),
        ("input.clip.npy", "input.input.clip.npy"),
        ("curation.json", "input.curation.json"),
        ("my.clip.npy", "my.clip.npy"),
    ],
)
def test_members_of_an_earlier_curation_move_aside(extension, kept):
    assert own_extension(extension) == kept
