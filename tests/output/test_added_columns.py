"""Columns that are computed later stand beside a part, for as long as what they were computed from is the same."""

import dataclasses
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_curator import rows
from beam_curator.identities import ModelIdentity
from beam_curator.models.scorers.scorer import Column
from beam_curator.output import added_columns
from beam_curator.output.added_columns import columns_name, completed, is_added_columns, read_range, write_columns
from beam_curator.output.score_parts import read_part
from beam_curator.output.score_steps import ScoreStep, Wanted
from tests.batches import AESTHETIC, ENCODER, MEMBERS, scored_batches
from tests.tars import tar_bytes

WARM = ScoreStep("warm", ModelIdentity("warm", "cc"), "embedding", (Column("warm"), Column("hue", "text")))
LONG = ScoreStep("long", ModelIdentity("long"), "caption", (Column("long", "flag"),))
BRIGHT = ScoreStep("bright", ModelIdentity("bright"), "pixels", (Column("bright"),))
WANTED = Wanted(ENCODER, (AESTHETIC, WARM))


@pytest.fixture
def output(tmp_path):
    return str(tmp_path / "scored")


@pytest.fixture
def batch(tmp_path):
    """A range of five samples as its part has it, the last of which cannot be used."""
    members = [*MEMBERS, ("dir/f.jpg", b""), ("dir/f.jpg", b"")]
    (batch,) = scored_batches(tmp_path, tar_bytes(members), 1 << 30)
    assert batch.rows["failure"].to_pylist()[:-1] == [None] * 5
    return batch


def with_warm(batch, warm=(1, 2, 3, 4, 5, 6)):
    table = rows.with_score(batch.rows, "warm", np.array(warm, np.float32))
    table = rows.with_score(table, "hue", ["red", "blue", None, "red", "green", "red"], pa.string())
    return batch.replace(rows=rows.with_failures(table, {1: "warm: too dark"}, of="warm"))


@pytest.fixture
def added(output, batch):
    """The range as it stood when columns were written beside its part."""
    stored = read_part(output, batch.range, ENCODER)
    write_columns(output, stored, WARM, with_warm(stored.batch))
    return stored


def path_of(output, batch, scorer="warm"):
    return pathlib.Path(output) / columns_name(batch.range, scorer)


def test_a_file_of_somebody_else_is_not_read(output, batch, added):
    table = pq.read_table(path_of(output, batch))
    pq.write_table(table.replace_schema_metadata({b"beam_curator": b"no JSON"}), path_of(output, batch))
    assert read_range(output, batch.range, WANTED).lacking(WANTED.steps) == [WARM]


def test_what_was_written_is_read_beside_the_part(output, batch, added):
    found = read_range(output, batch.range, WANTED)
    assert found.lacking(WANTED.steps) == []
    assert found.steps == (AESTHETIC, WARM)
    assert found.batch.models == WANTED.models
    assert found.batch.rows.equals(with_warm(added.batch).rows)
    assert found.batch.rows["warm"].to_pylist() == [1, 2, 3, 4, 5, None]
    assert found.batch.rows["reason"].to_pylist()[1] == "warm: too dark"
    assert rows.score_names(found.batch.rows) == ["aesthetic", "warm", "hue"]


def test_the_part_itself_stays_as_it_is_and_no_temporary_file_is_left(output, batch):
    before = pathlib.Path(batch.part).read_bytes()
    stored = read_part(output, batch.range, ENCODER)
    write_columns(output, stored, WARM, with_warm(stored.batch))
    assert pathlib.Path(batch.part).read_bytes() == before
    files = [path for path in pathlib.Path(output).rglob("*") if path.is_file()]
    assert sorted(files) == sorted([pathlib.Path(batch.part), path_of(output, batch)])


def test_the_same_columns_are_the_same_bytes(output, batch, added):
    first = path_of(output, batch).read_bytes()
    write_columns(output, added, WARM, with_warm(added.batch))
    assert path_of(output, batch).read_bytes() == first


def test_a_file_of_added_columns_is_told_from_a_part(output, batch, added):
    assert is_added_columns(pq.read_schema(path_of(output, batch)))
    assert not is_added_columns(pq.read_schema(batch.part))


def test_columns_come_in_the_order_in_which_they_are_wanted(output, batch, added):
    found = read_range(output, batch.range, Wanted(ENCODER, (WARM, AESTHETIC)))
    assert rows.score_names(found.batch.rows) == ["warm", "hue", "aesthetic"]


@pytest.mark.parametrize(
    "changed",
    [
        dataclasses.replace(WARM, identity=ModelIdentity("warm", "dd")),
        dataclasses.replace(WARM, identity=WARM.identity.with_notes("approximate")),
        dataclasses.replace(WARM, needs="row"),
        dataclasses.replace(WARM, columns=(Column("warm"),)),
    ],
    ids=["weights", "notes", "needs", "columns"],
)
def test_of_another_scorer_they_are_not_read(output, batch, added, changed):
    found = read_range(output, batch.range, Wanted(ENCODER, (AESTHETIC, changed)))
    assert found.lacking([AESTHETIC, changed]) == [changed]
    assert rows.score_names(found.batch.rows) == ["aesthetic"]


def of_precision(stored, precision):
    encoder = dataclasses.replace(ENCODER, precision=precision)
    return dataclasses.replace(stored, batch=stored.batch.replace(models={**stored.batch.models, "embedding": encoder}))


def test_of_another_precision_of_the_encoder_they_are_not_read_where_they_need_embeddings(output, added):
    assert completed(output, added, [WARM]).steps == (WARM,)
    assert completed(output, of_precision(added, "bf16"), [WARM]).lacking([WARM]) == [WARM]


@pytest.mark.parametrize("step", [LONG, BRIGHT], ids=lambda step: step.needs)
def test_what_needs_no_embedding_is_read_whatever_embeds(output, added, step):
    values = [True] * 6 if step is LONG else np.ones(6)
    type = rows.SCORE_TYPES[step.columns[0].type]
    scored = added.batch.replace(rows=rows.with_score(added.batch.rows, step.name, values, type))
    write_columns(output, added, step, scored)
    assert completed(output, of_precision(added, "bf16"), [step]).steps == (step,)


def test_what_needs_pixels_is_not_read_where_they_are_decoded_in_another_way(output, added):
    scored = added.batch.replace(rows=rows.with_score(added.batch.rows, "bright", np.ones(6)))
    write_columns(output, added, BRIGHT, scored)
    drafting = ENCODER.with_notes("JPEG draft")
    models = {**added.batch.models, "embedding": drafting}
    changed = dataclasses.replace(added, batch=added.batch.replace(models=models))
    assert completed(output, changed, [BRIGHT]).lacking([BRIGHT]) == [BRIGHT]


def test_of_another_state_of_the_shard_they_are_not_read(output, added):
    other = dataclasses.replace(added, range="0" * 64)
    assert completed(output, other, [WARM]).lacking([WARM]) == [WARM]


def test_beside_a_part_of_another_encoder_nothing_stands(output, batch, added):
    assert read_range(output, batch.range, Wanted(ModelIdentity("other"), (WARM,))) is None


def test_a_scorer_that_is_not_used_is_not_shown_and_its_columns_stay(output, batch, added):
    before = path_of(output, batch).read_bytes()
    without = read_range(output, batch.range, Wanted(ENCODER, (AESTHETIC,)))
    assert rows.score_names(without.batch.rows) == ["aesthetic"]
    assert without.batch.rows["status"].to_pylist()[1] == "kept"
    assert "warm.failure" not in without.batch.rows.schema.names
    assert path_of(output, batch).read_bytes() == before
    assert read_range(output, batch.range, WANTED).lacking(WANTED.steps) == []


def spoil(content, kind):
    return {
        "empty": b"",
        "no Parquet": b"computed anew, please" * 9,
        "cut": content[: len(content) // 2],
        "cut inside the footer": content[:-20],
        "damaged pages": content[:4] + bytes([255]) * (len(content) // 3) + content[4 + len(content) // 3 :],
    }[kind]


@pytest.mark.parametrize("kind", ["empty", "no Parquet", "cut", "cut inside the footer", "damaged pages"])
def test_a_damaged_file_is_lacking_and_is_replaced(output, batch, added, kind):
    path = path_of(output, batch)
    whole = path.read_bytes()
    path.write_bytes(spoil(whole, kind))
    assert read_range(output, batch.range, WANTED).lacking(WANTED.steps) == [WARM]
    write_columns(output, added, WARM, with_warm(added.batch))
    assert path.read_bytes() == whole


def test_a_file_of_somebody_else_is_lacking(output, batch, added):
    pq.write_table(pa.table({"warm": pa.nulls(6, pa.float32())}), path_of(output, batch))
    assert read_range(output, batch.range, WANTED).lacking(WANTED.steps) == [WARM]


@pytest.mark.parametrize("count", [0, 5, 7])
def test_a_file_with_another_number_of_rows_is_lacking(output, batch, added, count):
    path = path_of(output, batch)
    table = pq.read_table(path)
    longer = pa.concat_tables([table, table]).slice(0, count).replace_schema_metadata(table.schema.metadata)
    pq.write_table(longer, path)
    assert read_range(output, batch.range, WANTED).lacking(WANTED.steps) == [WARM]


def test_storage_that_fails_is_no_lack_of_columns(output, batch, added, monkeypatch):
    real = added_columns.files.read_bytes

    def failing(url):
        if "columns" in url:
            raise PermissionError("not yours")
        return real(url)

    monkeypatch.setattr(added_columns.files, "read_bytes", failing)
    with pytest.raises(PermissionError, match="not yours"):
        read_range(output, batch.range, WANTED)
