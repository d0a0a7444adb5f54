"""MatchShards, PlanRanges, ReadSamples and ExplodeSamples on the local runner, and bytes that stay where they are."""

import dataclasses
import os
import pickle
import random
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.coders import FastPrimitivesCoder
from apache_beam.io import fileio
from apache_beam.io.filesystem import FileMetadata

from beam_curator.errors import CurationError, JobError, UsageError
from beam_curator.identities import ModelIdentity
from beam_curator.output.job_input import match_shards
from beam_curator.sources.sample_batches import load, read_batch
from beam_curator.sources.tar.planning import plan_ranges
from beam_curator.transforms import submitting
from beam_curator.transforms.exploding import ExplodeSamples
from beam_curator.transforms.planning import MatchShards, PlanRanges
from beam_curator.transforms.reading import ReadSamples
from tests.eager import eager
from tests.tars import as_reference, expected, members_of, read_shard, tar_bytes, webdataset_samples, write_shard

NOISE = random.Random(4)


def members(prefix, count=10):
    return [(f"{prefix}{i}.{e}", NOISE.randbytes(900)) for i in range(count) for e in ("jpg", "txt")]


@pytest.fixture
def shards(tmp_path):
    return [write_shard(tmp_path / f"{name}.tar", tar_bytes(members(name))) for name in ("b", "a")]


@pytest.fixture
def batch(shards):
    (whole,) = plan_ranges(shards[0], 1 << 30)
    return read_batch(whole)


def contents(batch):
    """Plain values of a batch, for comparing: where it is from, and its samples with their bytes."""
    return batch.range.url, batch.range.ordinal, [(s.key, members_of(s)) for s in batch.samples]


def test_shards_are_matched_in_the_order_of_urls_with_size_and_generation(shards, tmp_path):
    found = match_shards([str(tmp_path / "*.tar")])
    assert [Path(shard.url).name for shard in found] == ["a.tar", "b.tar"]
    assert [shard.size_bytes for shard in found] == [Path(shard.url).stat().st_size for shard in found]
    before = found[0].generation
    os.utime(found[0].url, (1, 1))
    assert match_shards([found[0].url])[0].generation == before
    content = Path(found[0].url).read_bytes()
    Path(found[0].url).write_bytes(content[:-1] + b"x")
    os.utime(found[0].url, (1, 1))
    assert match_shards([found[0].url])[0].generation != before


def test_no_match_is_one_clear_error(tmp_path):
    with pytest.raises(UsageError, match=r"no shard matches .*gone"):
        match_shards([str(tmp_path / "gone*.tar")])


def test_match_shards_gives_what_the_patterns_match(shards, tmp_path):
    assert eager(MatchShards([str(tmp_path)])) == match_shards([str(tmp_path)])


def place(range):
    return range.url, range.ordinal


@pytest.mark.parametrize("names_input", [match_shards, MatchShards, ReadSamples])
def test_to_name_no_input_is_told_before_any_work(names_input):
    with pytest.raises(UsageError, match="no input is named"):
        eager(names_input([]))


@pytest.mark.parametrize("alone", [str, Path], ids=["text", "Path"])
def test_one_pattern_is_one_pattern_not_its_letters(shards, tmp_path, alone, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wanted = match_shards([str(tmp_path / "a.tar")])
    assert len(wanted) == 1
    pattern = alone(tmp_path / "a.tar")
    assert match_shards(pattern) == wanted
    assert eager(MatchShards(pattern)) == wanted
    assert [batch.range.shard for batch in eager(ReadSamples(pattern))] == wanted


@pytest.mark.slow
def test_what_beam_matched_is_read_each_shard_once(shards, tmp_path):
    globs = beam.Create([str(tmp_path / "*.tar"), str(tmp_path / "a.tar")])
    batches = eager(globs | fileio.MatchAll() | ReadSamples())
    wanted = [read_batch(one) for shard in match_shards(str(tmp_path)) for one in plan_ranges(shard, 1 << 30)]
    assert len(wanted) == 2
    assert sorted(map(contents, batches)) == sorted(map(contents, wanted))


def test_what_match_shards_gives_is_read(shards, tmp_path):
    (batch,) = eager(MatchShards(str(tmp_path / "a.tar")) | ReadSamples())
    assert Path(batch.range.url).name == "a.tar"


def test_a_directory_among_the_files_is_said_to_be_none(tmp_path):
    with pytest.raises(JobError, match="is not a file"):
        eager(ReadSamples(), [FileMetadata(str(tmp_path), 0)])


def test_patterns_begin_a_pipeline_and_are_wanted_there():
    with pytest.raises(UsageError, match=r"without patterns reads a PCollection of shards"):
        beam.Pipeline() | ReadSamples()
    with pytest.raises(UsageError, match=r"with patterns begins a pipeline"):
        beam.Pipeline() | MatchShards("a.tar") | ReadSamples("a.tar")


@pytest.mark.slow
def test_read_samples_keeps_its_plans_in_the_output_directory(shards, tmp_path):
    reading = [str(tmp_path / "a.tar"), 0.005]
    wanted = [place(one) for one in plan_ranges(match_shards(reading[0])[0], 5242)]
    assert len(wanted) > 1

    def read():
        return sorted(place(batch.range) for batch in eager(ReadSamples(*reading, output=str(tmp_path / "out"))))

    assert read() == wanted
    (plan,) = (tmp_path / "out" / "plans").iterdir()
    written = plan.stat().st_mtime_ns
    assert read() == wanted
    assert plan.stat().st_mtime_ns == written


@pytest.mark.parametrize("range_mb", [1e-9, 0.005, 64])
def test_plan_ranges_gives_the_ranges_of_all_shards(shards, range_mb):
    planned = [one for shard in shards for one in plan_ranges(shard, max(1, int(range_mb * (1 << 20))))]
    assert len(planned) >= 2
    assert sorted(eager(PlanRanges(range_mb), shards), key=place) == sorted(planned, key=place)


@pytest.mark.parametrize("range_mb", [0, -1, float("nan"), float("inf")])
def test_a_range_needs_a_size(range_mb):
    with pytest.raises(UsageError, match="a range needs a size above 0 MiB"):
        PlanRanges(range_mb)


def test_no_range_is_empty_however_small_ranges_are_asked_for(shards):
    ranges = list(plan_ranges(shards[0], 1))
    assert len(ranges) == 10
    assert all(one.start < one.end for one in ranges)


def test_read_samples_gives_every_sample_once_with_its_bytes(shards, tmp_path):
    batches = eager(ReadSamples(str(tmp_path / "{a,b}.tar"), range_mb=0.01))
    wanted = [
        (shard.url, sample.key, sorted(members_of(sample).items()))
        for shard in shards
        for sample in read_shard(shard)[0]
    ]
    assert len(wanted) == 20

    given = [
        (one.range.url, sample.key, sorted(members_of(sample).items())) for one in batches for sample in one.samples
    ]
    assert sorted(given) == sorted(wanted)


def test_read_samples_joins_members_by_key_and_takes_images_and_captions_from_where_it_is_told(tmp_path):
    files = [(f"{i}.{e}", e.encode()) for e in ("jpg", "l.png", "cap", "txt") for i in range(3)]
    write_shard(tmp_path / "c.tar", tar_bytes(files))
    policies = {"several_images": "all", "image_from": "l.png", "caption_from": ["cap"]}
    batches = eager(ReadSamples(str(tmp_path / "c.tar"), 0.002, group_by_key=True, **policies))
    rows = [row for one in batches for row in one.rows.select(["key", "image", "images", "caption"]).to_pylist()]
    wanted = [{"key": str(i), "image": "l.png", "images": 2, "caption": "cap"} for i in range(3)]
    assert sorted(rows, key=lambda row: row["key"]) == wanted


def test_read_samples_refuses_policies_that_mean_nothing_when_the_pipeline_is_built():
    with pytest.raises(UsageError, match="several_images='both'"):
        ReadSamples("a.tar", several_images="both")


def test_explode_samples_gives_each_sample_its_row_embedding_and_range(batch):
    embedded = batch.replace(embeddings=np.arange(20, dtype=np.float16).reshape(10, 2))
    samples = eager(ExplodeSamples(), [embedded])

    def facts(sample):
        return sample.key, sample.row["sample_id"], sample.row["offset"], sample.embedding.tolist(), sample.range

    uids = batch.rows["sample_id"].to_pylist()
    wanted = [
        (sample.key, uids[i], sample.offset, [2.0 * i, 2.0 * i + 1], batch.range)
        for i, sample in enumerate(batch.samples)
    ]
    assert [facts(sample) for sample in samples] == wanted


def test_explode_samples_of_a_batch_whose_samples_were_dropped_goes_by_the_rows(batch):
    samples = eager(ExplodeSamples(), [batch.replace(samples=None)])
    wanted = [(sample.key, sample.offset, sample.span_bytes) for sample in batch.samples]
    assert [(s.key, s.offset, s.span_bytes) for s in samples] == wanted


def carried(batch, how):
    if how == "pickle":
        return pickle.loads(pickle.dumps(batch))
    coder = FastPrimitivesCoder()
    return coder.decode(coder.encode(batch))


@pytest.mark.parametrize("how", ["pickle", "Beam's coder"])
def test_pickling_or_encoding_a_batch_drops_the_bytes_and_keeps_the_references(batch, how):
    there = carried(batch, how)
    assert there.samples == batch.samples
    assert there.rows.equals(batch.rows)
    assert all(member.data is None for sample in there.samples for member in sample.members.values())
    assert all(member.data is not None for sample in batch.samples for member in sample.members.values())
    assert len(pickle.dumps(with_large_members(batch))) < 100_000


def with_large_members(batch):
    """The batch, with members of a megabyte each: none of which may be pickled."""
    samples = [
        dataclasses.replace(
            sample, members={e: dataclasses.replace(m, data=bytes(1 << 20)) for e, m in sample.members.items()}
        )
        for sample in batch.samples
    ]
    return batch.replace(samples=samples)


@pytest.mark.parametrize("how", ["pickle", "Beam's coder"])
def test_load_brings_the_bytes_back(batch, how):
    assert contents(load(carried(batch, how))) == contents(batch)
    assert contents(load(batch.replace(samples=None))) == contents(batch)


def test_load_leaves_a_batch_alone_that_has_its_bytes_though_a_sample_of_it_is_cut(tmp_path, batch):
    assert load(batch) is batch
    cut = write_shard(tmp_path / "cut.tar", tar_bytes(members("c"))[:4000])
    (whole,) = plan_ranges(cut, 1 << 30)
    fresh = read_batch(whole)
    assert fresh.rows["status"].to_pylist()[-1] == "failed"
    assert load(fresh) is fresh


@pytest.mark.parametrize("change", ["other keys", "cut"])
def test_load_says_so_when_the_shard_has_changed(batch, change):
    data = tar_bytes(members("z")) if change == "other keys" else b""
    Path(batch.range.url).write_bytes(data)
    with pytest.raises(JobError, match=r'b\.tar: the shard has changed since it was read: "b0" is gone'):
        load(pickle.loads(pickle.dumps(batch)))


def test_samples_that_lost_their_bytes_in_a_shuffle_are_not_embedded_as_if_they_had_no_image(batch):
    with pytest.raises(CurationError, match=r"call load\(\) on the batch"):
        submitting.submit_batch(pickle.loads(pickle.dumps(batch)), encoder=None, identity=ModelIdentity("none"))


def test_a_shuffle_between_reading_and_loading_changes_no_byte(shards, tmp_path):
    batches = eager(ReadSamples([shard.url for shard in shards], 0.01) | beam.Reshuffle() | beam.Map(load))
    wanted = [
        contents(read_batch(one)) for shard in match_shards([str(tmp_path)]) for one in plan_ranges(shard, 10_485)
    ]
    assert sorted(map(contents, batches)) == sorted(wanted)


def test_rows_say_what_webdataset_reads(shards):
    data = Path(shards[0].url).read_bytes()
    samples = [s for one in plan_ranges(shards[0], 5000) for s in read_batch(one).samples]
    assert as_reference(samples) == expected(webdataset_samples(data))
    assert [k for one in plan_ranges(shards[0], 5000) for k in read_batch(one).rows["key"].to_pylist()] == [
        reference.key for reference in webdataset_samples(data)
    ]


def test_joining_by_key_is_refused_where_there_are_no_tars(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"\xff\xd8\xff")
    told = r"group_by_key joins members of a tar, and .*photos# is none: leave it out"
    with pytest.raises(Exception, match=told):
        eager(ReadSamples(str(tmp_path / "photos"), group_by_key=True))
