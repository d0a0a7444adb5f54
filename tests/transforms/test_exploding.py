"""Between batches and samples, for other Beam jobs."""

import apache_beam as beam
import numpy as np
import pyarrow.parquet as pq
import pytest
from apache_beam.io.parquetio import WriteToParquet
from apache_beam.portability.api import schema_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.typehints import schemas

import beam_curator as bc
from beam_curator import rows
from beam_curator.commands import verify_output, write_report
from beam_curator.identities import ModelIdentity
from beam_curator.models.scorers.scorer import Column, Scorer
from beam_curator.rule_tally import RuleTally
from beam_curator.samples import RETURNING_KEYS, Finding, Sample, Shard, ShardError
from beam_curator.sources.sample_batches import read_batch
from beam_curator.sources.tar.planning import plan_ranges
from beam_curator.transforms.exploding import explode, gather
from tests.eager import eager
from tests.tars import tar_bytes, write_shard


@pytest.fixture
def batches(shared):
    """Batches of real samples, with scores and embeddings that tell them apart."""
    made = []
    for tar in sorted((shared / "data").glob("*.tar")):
        (range,) = plan_ranges(Shard(str(tar), tar.stat().st_size), 1 << 26)
        batch = read_batch(range)
        scores = np.arange(len(batch), dtype=np.float32)
        embeddings = np.repeat(scores[:, None], 4, axis=1).astype(np.float16)
        table = rows.with_score(batch.rows, "aesthetic", scores)
        made.append(batch.replace(rows=table, embeddings=embeddings, models={"embedding": ModelIdentity("test")}))
    return made


def test_embeddings_of_other_images_stay_with_their_samples(batches):
    batch = batches[0]
    last = len(batch) - 1
    others = np.arange(3 * 4, dtype=np.float16).reshape(3, 4)
    embedded = batch.replace(
        embeddings=np.ones((len(batch), 4), np.float16), more_embeddings=others, more_of=np.array([0, last, last])
    )
    again = gather(list(explode(embedded)))
    assert again.more_of.tolist() == [0, last, last]
    assert np.array_equal(again.more_embeddings, others)


def test_gather_is_the_inverse_of_explode(batches):
    for batch in batches:
        again = gather(list(explode(batch)))
        assert again.rows.equals(batch.rows)
        assert again.samples == batch.samples
        assert all(
            bytes(one.members["jpg"].data) == bytes(other.members["jpg"].data)
            for one, other in zip(again.samples, batch.samples, strict=True)
        )
        assert np.array_equal(again.embeddings, batch.embeddings)
        assert again.models == batch.models


class Judging(Scorer):
    """A scorer of three columns that says nothing of any sample, and cannot do with one."""

    name, needs = "judging", "row"

    @property
    def columns(self):
        return Column("loud", "flag"), Column("hue", "text"), Column("warm")

    def __call__(self, batch):
        if any(row["key"] == "b" for row in batch):
            raise ValueError("not b")
        return {column.name: [None] * len(batch) for column in self.columns}


@pytest.mark.slow
def test_columns_of_scorers_keep_their_types_and_roles_though_no_sample_has_a_value(tmp_path):
    shard = write_shard(tmp_path / "a.tar", tar_bytes([("a.jpg", b"x"), ("b.jpg", b"x"), ("c.jpg", b"x")])).url
    scored = bc.ReadSamples(shard) | bc.Score(Judging())
    (before,) = eager(scored)
    again = eager(bc.ReadSamples(shard) | bc.Score(Judging()) | bc.ExplodeSamples() | bc.BatchSamples(max_samples=2))
    assert [len(batch) for batch in again] == [2, 1]
    assert rows.types_of(again[0].rows.schema).items() >= {"loud": "flag", "hue": "text", "warm": "number"}.items()
    assert again[0].rows["judging.failure"].to_pylist() == [None, "scorer judging raised ValueError: not b"]
    for batch in again:
        assert batch.rows.schema.equals(before.rows.schema, check_metadata=True)
        assert rows.score_names(batch.rows) == ["loud", "hue", "warm"]


def test_filtered_by_a_beam_job_of_ones_own_samples_make_batches_again(batches, shared):
    gathered = eager(
        bc.ReadSamples(str(shared / "data" / "*.tar"))
        | bc.ExplodeSamples()
        | beam.Filter(lambda sample: sample.key.endswith("5"))
        | bc.BatchSamples(max_samples=2)
    )
    expected = sorted(
        (batch.range.url, sample.key) for batch in batches for sample in batch.samples if sample.key.endswith("5")
    )
    assert all(1 <= len(batch) <= 2 for batch in gathered)
    assert sorted((batch.range.url, key) for batch in gathered for key in batch.rows["key"].to_pylist()) == expected
    assert len(expected) > 3


def test_what_is_told_of_a_batch_is_told_once_of_the_batches_that_are_made_of_it(batches):
    batch = batches[0].replace(
        errors=(ShardError(batches[0].range.url, 5000, "truncated"),),
        batch_reductions=2,
        judged={"wide": RuleTally(3, 1, 0, "no width")},
        passed_over={"symbolic link": 2},
        findings=(Finding(RETURNING_KEYS, batches[0].range.url, 512, "a", 1),),
    )
    told = ("errors", "batch_reductions", "judged", "passed_over", "findings")
    samples = list(explode(batch))
    again = gather(samples)
    assert [getattr(again, name) for name in told] == [getattr(batch, name) for name in told]
    assert not any(sample.of_batch for sample in again.samples)
    rest = gather(samples[1:])
    assert [getattr(rest, name) for name in told] == [(), 0, {}, {}, ()]
    both = gather([samples[0], *explode(batch)])
    assert (both.batch_reductions, both.passed_over) == (4, {"symbolic link": 4})


def test_a_broken_shard_is_told_after_its_samples_went_through_a_beam_job(shared, tmp_path):
    tar = min((shared / "data").glob("*.tar"))
    (tmp_path / "cut.tar").write_bytes(tar.read_bytes()[:-20_000])
    gathered = eager(bc.ReadSamples(str(tmp_path / "cut.tar")) | bc.ExplodeSamples() | bc.BatchSamples(max_samples=3))
    assert len(gathered) > 1
    assert [error.url for batch in gathered for error in batch.errors] == [str(tmp_path / "cut.tar")]


def test_samples_that_were_not_exploded_are_refused_by_name():
    with pytest.raises(bc.CurationError, match='sample "stray" has no row'):
        gather([Sample("stray", 0, 512, {})])


def written(output, shard, *between):
    """The bytes of the output shards, and how many rows the ledger and the score parts have."""
    with beam.Pipeline(FnApiRunner()) as pipeline:
        batches = pipeline | bc.ReadSamples(shard) | bc.EmbedImages(bc.ClipModelHandler("tiny-untrained"))
        for step in (bc.Select("width >= 40"), *between):
            batches |= step
        batches | bc.WriteShards(output)
    lengths = [[pq.read_metadata(path).num_rows for path in (output / of).iterdir()] for of in ("samples", "scores")]
    return [path.read_bytes() for path in sorted(output.glob("*.tar"))], [sum(found) for found in lengths]


@pytest.mark.slow
def test_batches_that_are_less_than_a_range_are_written_as_the_whole_is(tmp_path, small_jpeg):
    """Each has files of its own: none is written over that of another."""
    entries = [(f"{name}.jpg", small_jpeg if name != "f" else b"no image") for name in "abcdefghijk"]
    shard = write_shard(tmp_path / "a.tar", tar_bytes(entries)).url
    whole = written(tmp_path / "whole", shard)
    for place, max_samples in enumerate((None, 3, 1)):
        again = (
            bc.ExplodeSamples(),
            bc.BatchSamples(max_samples),
            bc.DropDuplicates(tmp_path / str(place), by="image"),
        )
        plain = (bc.DropDuplicates(tmp_path / f"{place} plain"),)
        assert written(tmp_path / str(place), shard, *again) == written(tmp_path / f"{place} plain", shard, *plain)
        split = written(tmp_path / f"{place} split", shard, *again[:2])
        assert split == whole
    assert whole[1] == [11, 11]
    assert len(list((tmp_path / "1" / "scores").iterdir())) == 4


@pytest.mark.slow
def test_an_output_of_parts_of_ranges_is_reported_whole_told_by_verify_and_gone_once_ranges_are_whole(
    tmp_path, small_jpeg, capsys
):
    shard = write_shard(tmp_path / "a.tar", tar_bytes([(f"{name}.jpg", small_jpeg) for name in "abcde"])).url
    out = tmp_path / "out"
    first = written(out, shard, bc.ExplodeSamples(), bc.BatchSamples(2))
    assert len(list((out / "samples").iterdir())) == 3
    assert write_report.main([str(out)]) == 0
    assert "5 of 5 samples kept" in capsys.readouterr().out
    assert verify_output.main([str(out)]) == 2
    told = capsys.readouterr().err
    assert (told.count("\n"), "batches that are less than a range" in told) == (1, True)
    assert written(out, shard) == first
    assert [len(list((out / of).iterdir())) for of in ("samples", "scores")] == [1, 1]
    assert verify_output.main([str(out)]) == 0


@pytest.mark.slow
def test_a_range_that_comes_twice_ends_the_job(tmp_path, small_jpeg):
    shard = write_shard(tmp_path / "a.tar", tar_bytes([("a.jpg", small_jpeg), ("b.jpg", small_jpeg)])).url
    twice = beam.FlatMap(lambda batch: [batch, batch]).with_output_types(bc.SampleBatch)
    with pytest.raises(bc.CurationError, match=r"a\.tar: two batches begin at 0: each range goes to WriteShards once"):
        written(tmp_path / "out", shard, twice)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_rows_have_types_that_beams_schemas_know(shard_of_one):
    """Any object is none that Parquet, Avro, BigQuery or SQL could hold."""
    pipeline = beam.Pipeline()
    scored = pipeline | bc.ReadSamples(shard_of_one) | bc.EmbedImages(bc.ClipModelHandler("tiny-untrained"))
    rows = scored | bc.ScoreAesthetic("untrained") | bc.ExplodeSamples(as_rows=True)
    fields = schemas.schema_from_element_type(rows.element_type).fields
    atoms = {field.name: schema_pb2.AtomicType.Name(field.type.atomic_type) for field in fields if field.type.nullable}
    assert len(atoms) == len(fields) > 15
    assert {name: atoms[name] for name in ("key", "width", "aesthetic")} == {
        "key": "STRING",
        "width": "INT64",
        "aesthetic": "DOUBLE",
    }
    assert "UNSPECIFIED" not in atoms.values()


@pytest.mark.slow
def test_rows_are_written_as_parquet(shard_of_one, tmp_path):
    with beam.Pipeline(FnApiRunner()) as pipeline:
        scored = pipeline | bc.ReadSamples(shard_of_one) | bc.EmbedImages(bc.ClipModelHandler("tiny-untrained"))
        scored | bc.ExplodeSamples(as_rows=True) | WriteToParquet(str(tmp_path / "rows"))
    (path,) = tmp_path.glob("rows*")
    (row,) = pq.read_table(path).to_pylist()
    assert (row["key"], row["status"], row["width"], row["reason"]) == ("a", "kept", 48, None)


@pytest.fixture
def shard_of_one(tmp_path, small_jpeg):
    return write_shard(tmp_path / "one.tar", tar_bytes([("a.jpg", small_jpeg)])).url
