"""Output shards: webdataset reads them, members come through bit for bit, and the same input gives the same bytes."""

import dataclasses
import io
import json
import random
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_curator import rows
from beam_curator.errors import JobError
from beam_curator.identities import ModelIdentity, told_models
from beam_curator.output import copying, output_shard
from beam_curator.output.part_contents import embeddings_of, read_stored
from beam_curator.output.placing import place_samples
from beam_curator.storage.local_writing import SMALL_BYTES
from tests.batches import MEMBERS, MODELS, NOISE, scored_batches
from tests.examples import examples
from tests.tars import tar_bytes, webdataset_samples, write_shard


def runs_of(batches, samples_per_shard=1000):
    """The runs of output shard 0."""
    runs, place = [], 0
    for batch in batches:
        _, placed = place_samples(batch, place, samples_per_shard)
        runs += [run for index, run in placed if index == 0]
        place += len(batch)
    return runs


@pytest.fixture
def runs(tmp_path):
    return runs_of(scored_batches(tmp_path, tar_bytes(MEMBERS)))


def embeddings_in(runs):
    return np.concatenate([embeddings_of(read_stored(run.part))[run.part_rows] for run in runs])


def test_webdataset_reads_the_members_bit_for_bit_with_embeddings_and_curation_beside_them(tmp_path, runs):
    written = output_shard.write_shard(str(tmp_path / "out"), 0, reversed(runs))
    data = (tmp_path / "out" / "00000.tar").read_bytes()
    found = webdataset_samples(data)
    before = webdataset_samples(tar_bytes(MEMBERS))
    assert len(runs) > 1
    assert (written.index, written.samples, written.bytes) == (0, 5, len(data))
    assert [sample.key for sample in found] == [f"00000{i:04d}" for i in range(5)]
    for sample, original, embedding in zip(found, before, embeddings_in(runs), strict=True):
        members = dict(sample.members)
        stored = np.load(io.BytesIO(members.pop("clip.npy")), allow_pickle=False)
        about = json.loads(members.pop("curation.json"))
        assert members == original.members
        assert stored.dtype == np.float16
        np.testing.assert_array_equal(stored, embedding)
        assert about["input_key"] == original.key
        assert about["models"] == told_models(MODELS)


def test_the_curation_record_says_where_a_sample_came_from_and_its_scores_in_their_shortest_form(tmp_path, runs):
    output_shard.write_shard(str(tmp_path / "out"), 0, runs)
    first = webdataset_samples((tmp_path / "out" / "00000.tar").read_bytes())[0]
    about = json.loads(first.members["curation.json"])
    row = runs[0].rows.to_pylist()[0]
    assert about["scores"] == {"aesthetic": 4.1}
    assert (about["sample_id"], about["shard"], about["offset"]) == (row["sample_id"], str(tmp_path / "in.tar"), 0)
    assert not {"status", "reason", "key", "output_key"} & set(about)


def test_rows_are_aligned_with_the_samples_of_the_tar_and_statistics_tell_of_them(tmp_path, runs):
    output_shard.write_shard(str(tmp_path / "out"), 0, runs)
    table = pq.read_table(tmp_path / "out" / "00000.parquet")
    keys = [sample.key for sample in webdataset_samples((tmp_path / "out" / "00000.tar").read_bytes())]
    assert table["key"].to_pylist() == keys
    assert table["input_key"].to_pylist() == [sample.key for sample in webdataset_samples(tar_bytes(MEMBERS))]
    assert set(table["output_shard"].to_pylist()) == {"00000.tar"}
    statistics = json.loads((tmp_path / "out" / "00000_stats.json").read_text())
    assert statistics["samples"] == 5
    assert statistics["image_bytes"] == 5 * 1500
    scores = table["aesthetic"].to_numpy()
    assert statistics["scores"]["aesthetic"]["min"] == scores.min()
    assert statistics["scores"]["aesthetic"]["max"] == scores.max()


@pytest.mark.parametrize("range_bytes", [1, 4000, 8000])
def test_the_same_samples_give_the_same_tar_and_rows_however_the_shard_is_cut_into_ranges(tmp_path, range_bytes):
    for name, size in (("cut", range_bytes), ("whole", 1 << 30)):
        runs = runs_of(scored_batches(tmp_path, tar_bytes(MEMBERS), size, f"scored-{name}"))
        assert (len(runs) > 1) == (name == "cut")
        output_shard.write_shard(str(tmp_path / name), 0, random.Random(3).sample(runs, len(runs)))
    for file in ("00000.tar", "00000.parquet"):
        assert (tmp_path / "cut" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_two_writes_of_one_shard_give_the_same_bytes(tmp_path, runs):
    for name in ("one", "two"):
        output_shard.write_shard(str(tmp_path / name), 0, random.Random(name).sample(runs, len(runs)))
    for file in ("00000.tar", "00000.parquet", "00000_stats.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_standing_shard_with_the_same_content_is_left_alone(tmp_path, runs, monkeypatch):
    first = output_shard.write_shard(str(tmp_path / "out"), 0, runs)
    monkeypatch.setattr(output_shard, "_write_tar", lambda *_: pytest.fail("the shard was written again"))
    assert output_shard.write_shard(str(tmp_path / "out"), 0, runs) == first


@pytest.mark.parametrize("missing", ["00000.tar", "00000.parquet", "00000_stats.json"])
def test_a_shard_with_a_missing_file_is_written_again(tmp_path, runs, missing):
    output_shard.write_shard(str(tmp_path / "out"), 0, runs)
    before = (tmp_path / "out" / missing).read_bytes()
    (tmp_path / "out" / missing).unlink()
    output_shard.write_shard(str(tmp_path / "out"), 0, runs)
    assert (tmp_path / "out" / missing).read_bytes() == before


@pytest.mark.parametrize(
    ("spoiled", "spoil"),
    [
        ("00000.tar", lambda data: data[:-1024]),
        ("00000.tar", lambda data: data + bytes(512)),
        ("00000_stats.json", lambda data: b"[]"),
        ("00000_stats.json", lambda data: data.replace(b'"tar_bytes": ', b'"tar_bytes": 1')),
        ("00000_stats.json", lambda data: data.replace(b'"clip.npy": ', b'"clip.npy": null, "others": ')),
        ("00000_stats.json", lambda data: data.replace(b'"success": ', b'"success": 1')),
    ],
)
def test_a_shard_that_is_not_whole_is_written_again(tmp_path, runs, spoiled, spoil):
    output_shard.write_shard(str(tmp_path / "out"), 0, runs)
    file = tmp_path / "out" / spoiled
    before = file.read_bytes()
    file.write_bytes(spoil(before))
    output_shard.write_shard(str(tmp_path / "out"), 0, runs)
    assert file.read_bytes() == before


@pytest.mark.parametrize("change", ["fewer samples", "other scores", "other models", "broken statistics"])
def test_a_shard_with_other_content_is_replaced(tmp_path, runs, change):
    output = tmp_path / "out"
    output_shard.write_shard(str(output), 0, runs)
    before = {path.name: path.stat().st_ino for path in output.iterdir()}
    if change == "fewer samples":
        runs = runs[:1]
    elif change == "other scores":
        runs = [dataclasses.replace(r, rows=rows.with_column(r.rows, "aesthetic", [9.0] * len(r.rows))) for r in runs]
    elif change == "other models":
        runs = [dataclasses.replace(r, models={"embedding": ModelIdentity("other")}) for r in runs]
    else:
        (output / "00000_stats.json").write_text("{broken")
    output_shard.write_shard(str(output), 0, runs)
    after = {path.name: path.stat().st_ino for path in output.iterdir()}
    assert all(after[name] != inode for name, inode in before.items() if not name.startswith("_"))
    samples = webdataset_samples((output / "00000.tar").read_bytes())
    assert len(samples) == pq.read_table(output / "00000.parquet").num_rows == sum(len(r.rows) for r in runs)


OURS = ["clip.npy", "curation.json"]


@examples(25)
@given(st.sets(st.sampled_from([f"{'input.' * n}{name}" for n in range(4) for name in [*OURS, "json", "npy"]])))
def test_input_that_has_members_of_our_names_loses_nothing(tmp_path_factory, extensions):
    directory = tmp_path_factory.mktemp("again")
    originals = [(f"a.{extension}", extension.encode()) for extension in ["jpg", *sorted(extensions)]]
    output_shard.write_shard(str(directory / "out"), 0, runs_of(scored_batches(directory, tar_bytes(originals))))
    (found,) = webdataset_samples((directory / "out" / "00000.tar").read_bytes())
    assert not found.failed
    assert len(found.members) == len(originals) + 2
    assert np.load(io.BytesIO(found.members["clip.npy"])).shape == (6,)
    assert json.loads(found.members["curation.json"])["input_key"] == "a"
    others = {name: data for name, data in found.members.items() if name not in OURS}
    assert sorted(others.values()) == sorted(data for _, data in originals)
    for name, data in others.items():
        assert name.removeprefix("input.") == data.decode() or name == data.decode()
        assert name == data.decode() or data.decode().endswith(tuple(OURS))


def test_a_shard_that_changed_after_it_was_scored_ends_the_job_and_leaves_no_output_shard(tmp_path, runs):
    renamed = [(name.replace("/a.", "/z."), data) for name, data in MEMBERS]
    write_shard(tmp_path / "in.tar", tar_bytes(renamed))
    with pytest.raises(JobError, match=r'in\.tar: the shard has changed since it was scored: "dir/a" stood here'):
        output_shard.write_shard(str(tmp_path / "out"), 0, runs)
    resized = [(name, data[:-1] if name.endswith("e.txt") else data) for name, data in MEMBERS]
    write_shard(tmp_path / "in.tar", tar_bytes(resized))
    with pytest.raises(JobError, match=r'in\.tar: the shard has changed since it was scored: "dir/e" stood here'):
        output_shard.write_shard(str(tmp_path / "out"), 0, runs)
    write_shard(tmp_path / "in.tar", tar_bytes(MEMBERS)[:3000])
    with pytest.raises(JobError, match="the shard has changed since it was scored"):
        output_shard.write_shard(str(tmp_path / "out"), 0, runs)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


SIZES = st.sampled_from([0, 1, 512, 5000, SMALL_BYTES - 1, SMALL_BYTES, SMALL_BYTES + 1, 40_960, 41_000])


@examples(40)
@given(
    st.lists(
        st.dictionaries(st.sampled_from(["jpg", "txt", "é", "JPG.png", "x" * 120]), SIZES), min_size=1, max_size=6
    ),
    st.sampled_from([1, 30_000, 1 << 30]),
    st.sampled_from([1, 2, 512]),
)
def test_it_is_the_tar_that_tarfile_writes_of_the_same_members(tmp_path_factory, sizes, range_bytes, at_once):
    directory = tmp_path_factory.mktemp("whole")
    members = [[(f"{n}.{name}", NOISE.randbytes(size)) for name, size in one.items()] for n, one in enumerate(sizes)]
    originals = [[(f"{n}.jpg", b"image"), *(m for m in some if m[0] != f"{n}.jpg")] for n, some in enumerate(members)]
    batches = scored_batches(directory, tar_bytes([m for some in originals for m in some]), range_bytes)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(copying, "SAMPLES_AT_ONCE", 2 * at_once)
        patched.setattr(copying, "FRAMED_AT_ONCE", at_once)
        output_shard.write_shard(str(directory / "out"), 0, runs_of(batches))
    written = (directory / "out" / "00000.tar").read_bytes()
    added = [sample.members for sample in webdataset_samples(written)]
    due = [
        (f"00000{n:04d}.{name.split('.', 1)[1].lower()}", data)
        for n, some in enumerate(originals)
        for name, data in [*some, *((f"{n}.{own}", added[n][own]) for own in OURS)]
    ]
    assert written == tar_bytes(due, tarfile.PAX_FORMAT)


def test_a_sample_whose_padding_alone_is_cut_off_is_whole_until_it_changes(tmp_path):
    tar = tar_bytes([("a.jpg", b"image"), ("b.jpg", b"picture")])
    runs = runs_of(scored_batches(tmp_path, tar[: 1024 + 512 + 9]))
    written = output_shard.write_shard(str(tmp_path / "out"), 0, runs)
    assert written.samples == 2
    samples = webdataset_samples((tmp_path / "out" / "00000.tar").read_bytes())
    assert [sample.members["jpg"] for sample in samples] == [b"image", b"picture"]
    for now in (tar[: 1024 + 512 + 6], tar[: 1024 + 512 + 10], tar):
        write_shard(tmp_path / "in.tar", now)
        with pytest.raises(JobError, match='the shard has changed since it was scored: "b" stood here'):
            output_shard.write_shard(str(tmp_path / "again"), 0, runs)


def test_the_tar_is_a_plain_one_that_any_tar_reads_to_its_end(tmp_path, runs):
    output_shard.write_shard(str(tmp_path / "out"), 0, runs)
    with tarfile.open(tmp_path / "out" / "00000.tar", "r:") as tar:
        members = tar.getmembers()
    assert len(members) == 5 * 7
    assert {(m.mtime, m.uid, m.gid, m.uname) for m in members} == {(0, 0, 0, "")}


def test_a_shard_of_one_run_has_the_ledgers_columns(tmp_path, runs):
    output_shard.write_shard(str(tmp_path / "out"), 0, runs[:1])
    schema = pq.read_schema(tmp_path / "out" / "00000.parquet")
    assert schema.field("aesthetic").type == pa.float32()
    assert set(schema.names) >= {"key", "input_key", *rows.OUTCOME.names} - {"output_key"}
