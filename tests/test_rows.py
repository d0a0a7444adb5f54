"""Rows: the ledger's columns for the samples of a batch."""

import numpy as np
import pyarrow as pa
import pytest

from beam_curator import rows
from beam_curator.samples import Sample, Shard, ShardRange, sample_id
from beam_curator.sources import sample_batches
from beam_curator.sources.tar.planning import plan_ranges
from tests.tars import tar_bytes, write_shard

RANGE = ShardRange(Shard("a.tar", 9), 0, 9, 0, last=True)


def table_of(*samples):
    return rows.from_samples(RANGE, samples, [None] * len(samples))


def test_a_fresh_row_is_kept_and_one_that_the_tar_makes_unusable_is_failed_with_the_reason():
    table = table_of(Sample("a", 0, 512, {}), Sample("b", 512, 512, {}, failure="sparse member"))
    assert table.schema == rows.SCHEMA
    assert table["status"].to_pylist() == ["kept", "failed"]
    assert table["reason"].to_pylist() == [None, "sparse member"]


def test_ids_say_where_a_sample_stands_whatever_directory_its_shard_is_in():
    first, second = table_of(Sample("a", 0, 512, {}), Sample("a", 512, 512, {}))["sample_id"].to_pylist()
    assert (first, second) == ("a.tar:0:56cc0bc5", "a.tar:512:56cc0bc5")
    assert sample_id(Shard("gs://b/elsewhere/a.tar", 9), 0, "a", None) == first
    assert sample_id(Shard("x/a.tar", 9, label="x/a.tar"), 0, "a", None) == f"x/{first}"


def test_ids_of_other_samples_at_the_same_place_of_shards_of_one_name_differ():
    shard = Shard("a.tar", 9)
    assert len({sample_id(shard, 0, key, crc32) for key in "ab" for crc32 in (None, 1, 2)}) == 6


def test_keys_and_failures_of_names_that_are_not_utf8_can_be_written(tmp_path):
    data = tar_bytes([("caf\udce9.j\udcff", b""), ("caf\udce9.j\udcff", b""), ("日本.jpg", b"")])
    (whole,) = plan_ranges(write_shard(tmp_path / "a.tar", data), 1 << 30)
    table = sample_batches.read_batch(whole).rows
    table.validate(full=True)
    assert table["key"].to_pylist() == ["caf\\xe9", "日本"]
    assert table["reason"].to_pylist() == ['repeated member "j\\xff"', None]


def test_a_column_is_added_as_float32_or_set_in_its_own_type():
    table = table_of(Sample("a", 0, 512, {}))
    added = rows.with_column(table, "warmth", [0.5])
    assert added.schema.field("warmth").type == pa.float32()
    changed = rows.with_column(added, "width", [7])
    assert changed.schema.field("width").type == pa.int32()
    assert changed.schema.names == added.schema.names


def test_a_row_that_failed_before_keeps_its_first_reason():
    table = table_of(Sample("a", 0, 512, {}), Sample("b", 512, 512, {}, failure="first"))
    failed = rows.with_failures(table, {0: "second", 1: "second"})
    assert failed["status"].to_pylist() == ["failed", "failed"]
    assert failed["reason"].to_pylist() == ["second", "first"]


def test_a_row_that_cannot_be_used_has_no_score_nor_has_one_whose_number_is_nan():
    samples = Sample("a", 0, 512, {}), Sample("b", 512, 512, {}, failure="broken"), Sample("c", 1024, 512, {})
    table = table_of(*samples)
    scored = rows.with_score(table, "aesthetic", np.array([5.5, 4.0, np.nan]))
    assert scored["aesthetic"].to_pylist() == [5.5, None, None]
    assert scored.schema.field("aesthetic").type == pa.float32()
    scored = rows.with_score(scored, "warm", [True, True, None], pa.bool_())
    scored = rows.with_score(scored, "hue", ["red", "red", "blue"], pa.string())
    assert scored["warm"].to_pylist() == [True, None, None]
    assert scored["hue"].to_pylist() == ["red", None, "blue"]
    assert rows.types_of(scored.schema).items() >= {"aesthetic": "number", "warm": "flag", "hue": "text"}.items()


def test_a_row_that_one_scorer_failed_on_has_scores_of_another():
    table = rows.with_failures(table_of(Sample("a", 0, 512, {})), {0: "warmth: dark"}, of="warmth")
    assert (table["status"].to_pylist(), table["reason"].to_pylist()) == (["failed"], ["warmth: dark"])
    assert table["failure"].to_pylist() == [None]
    assert rows.with_score(table, "aesthetic", np.array([5.5]))["aesthetic"].to_pylist() == [5.5]
    assert rows.score_names(table) == []


def test_rows_before_any_rule_are_kept_but_for_failures_of_their_own_and_of_the_scorers_that_count():
    table = table_of(Sample("a", 0, 512, {}), Sample("b", 512, 512, {}, failure="broken"), Sample("c", 1024, 512, {}))
    table = rows.with_failures(table, {0: "warmth: dark", 1: "warmth: dark"}, of="warmth")
    table = rows.with_column(table, "status", ["failed", "failed", "dropped"])
    table = rows.with_column(table, "reason", ["warmth: dark", "broken", "aesthetic < 5"])
    counting = rows.unselected(table, ["warmth"])
    assert counting["status"].to_pylist() == ["failed", "failed", "kept"]
    assert counting["reason"].to_pylist() == ["warmth: dark", "broken", None]
    others = rows.unselected(table, ["aesthetic"])
    assert others["status"].to_pylist() == ["kept", "failed", "kept"]
    assert others["reason"].to_pylist() == [None, "broken", None]


def test_every_column_says_its_role():
    table = rows.with_score(table_of(Sample("a", 0, 512, {})), "nsfw", np.array([0.1]))
    roles = {field.name: rows.role_of(field) for field in table.schema}
    assert roles["nsfw"] == rows.SCORE
    assert {name for name, role in roles.items() if role == rows.INTERNAL} == {"span_bytes", "failure"}
    assert {name for name, role in roles.items() if role == rows.OUTCOME_ROLE} == {"status", "reason"}
    bare = table.replace_schema_metadata(None).cast(pa.schema([pa.field(f.name, f.type) for f in table.schema]))
    assert {field.name: rows.role_of(field) for field in bare.schema} == roles


def test_scores_are_the_columns_that_are_neither_facts_nor_outcome():
    table = rows.with_score(table_of(Sample("a", 0, 512, {})), "nsfw", np.array([0.1]))
    assert rows.score_names(table) == ["nsfw"]
    with_outcome = table.append_column(rows.OUTCOME.field("output_key"), pa.nulls(1, pa.string()))
    assert rows.score_names(with_outcome) == ["nsfw"]


def test_statuses_are_told_apart():
    table = table_of(Sample("a", 0, 512, {}), Sample("b", 512, 512, {}, failure="broken"))
    assert rows.status_is(table, rows.FAILED).tolist() == [False, True]
    assert rows.status_is(table_of(), rows.KEPT).shape == (0,)


@pytest.mark.parametrize(
    ("members", "caption"),
    [
        ([("a.txt", b"a cat")], "a cat"),
        ([("a.json", b'{"caption": "a dog"}')], "a dog"),
        ([("a.txt", b"a cat"), ("a.json", b'{"caption": "a dog"}')], "a cat"),
        ([("a.txt", b"")], None),
        ([("a.txt", b"caf\xe9")], "caf\ufffd"),
        ([("a.json", b'{"caption": "\\ud800"}')], "?"),
        ([("a.json", b'{"caption": 7}')], None),
        ([("a.json", b"[1]")], None),
        ([("a.json", b"{broken")], None),
        ([("a.json", b"[" * 100_000)], None),
        ([("a.jpg", b"x")], None),
    ],
)
def test_the_caption_is_the_txt_member_else_that_of_the_json_member(tmp_path, members, caption):
    (whole,) = plan_ranges(write_shard(tmp_path / "a.tar", tar_bytes(members)), 1 << 30)
    assert sample_batches.read_batch(whole).rows["caption"].to_pylist() == [caption]


def test_facts_that_earlier_parts_lack_stand_behind_phash_and_are_null_where_others_have_them():
    old = rows.with_column(table_of(Sample("a", 0, 512, {})), "aesthetic", [5.5])
    values = {"phash256": "0" * 64, "texture": 70, "colours": "0" * 96}
    new = old
    for name in reversed(rows.OPTIONAL_FACTS.names):
        new = rows.with_column(new, name, [values.get(name, "1" * 64)])
    assert new.schema.names == [*rows.NEW_SCHEMA.names, "aesthetic"]
    assert rows.fields_there(new.schema) == list(rows.NEW_SCHEMA)
    assert rows.fields_there(old.schema) == list(rows.SCHEMA)
    assert rows.stacked([old, old]).schema == old.schema
    together = rows.stacked([old, new])
    assert together.schema == new.schema
    assert together["texture"].to_pylist() == [None, 70]
    assert together["phash256"].to_pylist() == [None, "0" * 64]


def test_a_score_of_an_earlier_release_under_such_a_name_is_no_fact():
    field = rows.field_of("texture", pa.float32(), rows.SCORE)
    table = table_of(Sample("a", 0, 512, {})).append_column(field, pa.array([0.5], pa.float32()))
    assert rows.fields_there(table.schema) == list(rows.SCHEMA)
    assert rows.score_names(table) == ["texture"]
