"""What of batches, ranges and shards goes between workers: all but the bytes, and always the same."""

import dataclasses
import pickle

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.coders import registry
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to

import beam_curator as bc
from beam_curator import rows
from beam_curator.identities import ModelIdentity
from beam_curator.phases import Span
from beam_curator.rule_tally import RuleTally
from beam_curator.samples import Finding, Shard, ShardError, ShardRange
from beam_curator.sources.sample_batches import load, read_batch
from beam_curator.sources.tar.planning import plan_ranges
from beam_curator.transforms import wire_format
from beam_curator.transforms.coders import SampleBatchCoder, ShardCoder, ShardRangeCoder
from beam_curator.transforms.exploding import explode
from beam_curator.transforms.submitting import PendingBatch
from tests.batches import MEMBERS
from tests.eager import eager
from tests.tars import members_of, tar_bytes, write_shard

SHARD = Shard("gs://b/a.tar", 1 << 40, "generation é", "/mnt/a.tar")
READING = bc.Reading(True, "all", ("jpg", "left.png"), ("txt", "json:caption"))
RANGE = ShardRange(SHARD, 512, 1 << 33, 3, True, "zst", READING, True)


@pytest.fixture
def batch(tmp_path):
    (whole,) = plan_ranges(write_shard(tmp_path / "a.tar", tar_bytes(MEMBERS)), 1 << 30)
    return read_batch(whole)


def full(batch):
    """A batch none of whose attributes is as a fresh one's."""
    failed = dataclasses.replace(batch.samples[1], failure="cut \udcff", extents=((0, 5), (9, 1)), same_key=4)
    count = len(batch)
    return batch.replace(
        range=RANGE,
        samples=[batch.samples[0], failed, *batch.samples[2:]],
        rows=rows.with_score(rows.with_failures(batch.rows, {1: "cut"}), "warmth", np.arange(count) / 7),
        embeddings=np.random.default_rng(1).normal(size=(count, 6)).astype(np.float16),
        models={"embedding": ModelIdentity("b", "c" * 64, False, ("d",), "fp32"), "aesthetic": ModelIdentity("a")},
        errors=(ShardError("a.tar", 9, "ends early"),),
        part="out/scores/a.parquet",
        batch_reductions=np.int64(2),
        judged={"wide": RuleTally(9, 1, 2, "raised")},
        passed_over={"directories": 3},
        findings=(Finding("repeated_keys", "a.tar", 512, "k\udcff", 2),),
        more_embeddings=np.ones((2, 6), np.float16),
        more_of=np.array([0, 2], np.int64),
        spans={"scoring": Span(1.5, 2.5, 3)},
        text_embeddings=np.ones((count, 6), np.float16),
        caption_tokens=np.ones((count, 77), np.int32),
    )


def as_plain(value):
    return value.tolist() if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize("made", [lambda b: b, full, lambda b: full(b).replace(samples=None)])
def test_a_batch_is_the_same_after_its_way_but_for_its_bytes(batch, made):
    given = made(batch)
    coder = registry.get_coder(bc.SampleBatch)
    there = coder.decode(coder.encode(given))
    for field in dataclasses.fields(bc.SampleBatch):
        assert as_plain(getattr(there, field.name)) == as_plain(getattr(given, field.name)), field.name
    assert list(there.models) == list(given.models)
    assert there.rows.schema.equals(given.rows.schema, check_metadata=True)
    for array in (there.embeddings, there.more_embeddings):
        assert array is None or (array.dtype == np.float16 and array.flags.writeable)
    assert there.range.shard.path == given.range.shard.path
    assert [sample.same_key for sample in there.samples or ()] == [sample.same_key for sample in given.samples or ()]
    assert all(m.data is None for sample in there.samples or () for m in sample.members.values())


def test_full_has_no_attribute_of_a_fresh_batch(batch):
    values = {field.name: getattr(full(batch), field.name) for field in dataclasses.fields(batch)}
    assert [name for name, value in values.items() if repr(value) in ("None", "()", "{}", "0")] == []


def test_samples_keep_what_a_step_of_the_user_has_hung_on_them(batch):
    given = full(batch).replace(range=batch.range)
    hung = batch.replace(samples=list(explode(given)))
    there = wire_format.decode_batch(wire_format.encode_batch(hung))
    for one, other in zip(there.samples, hung.samples, strict=True):
        assert (one.row, one.range, one.models) == (other.row, other.range, other.models)
        np.testing.assert_array_equal(one.embedding, other.embedding)


def test_bytes_of_members_do_not_travel(batch):
    encoded = wire_format.encode_batch(batch)
    data = [m.data for sample in batch.samples for m in sample.members.values() if m.size > 100]
    assert len(data) > 5
    assert not any(bytes(one)[:50] in encoded for one in data)


@pytest.mark.parametrize("coder", [SampleBatchCoder(), ShardRangeCoder(), ShardCoder()])
def test_the_same_is_always_the_same_bytes(batch, coder):
    given = {SampleBatchCoder: full(batch), ShardRangeCoder: RANGE, ShardCoder: SHARD}[type(coder)]
    assert coder.is_deterministic()
    encoded = coder.encode(given)
    assert coder.encode(pickle.loads(pickle.dumps(given))) == encoded
    assert coder.encode(coder.decode(encoded)) == encoded


def test_what_lies_unseen_in_a_table_is_no_part_of_it(batch):
    def encoded(garbage):
        mask = np.array([True, *[False] * len(batch)])
        values = pa.array(np.array([garbage, *range(len(batch))], np.float32), mask=mask)
        chunks = [values.slice(0, 1), values.slice(1, len(batch) - 1)] if garbage else [values.slice(0, len(batch))]
        return wire_format.encode_batch(batch.replace(rows=batch.rows.append_column("s", pa.chunked_array(chunks))))

    assert encoded(0) == encoded(7)


@pytest.mark.parametrize("given", [RANGE, SHARD, Shard("a", 1)])
def test_ranges_and_shards_are_the_same_after_their_way(given):
    coder = registry.get_coder(type(given))
    there = coder.decode(coder.encode(given))
    assert there == given
    assert repr(there) == repr(given)
    assert getattr(there, "shard", there).location == getattr(given, "shard", given).location


def test_what_is_under_way_stays_pickled():
    assert not isinstance(registry.get_coder(PendingBatch), SampleBatchCoder)


def test_how_large_a_batch_is_is_told_without_encoding_it(batch, monkeypatch):
    size = len(wire_format.encode_batch(full(batch)))
    monkeypatch.delattr(wire_format, "encode_batch")
    assert size / 3 < SampleBatchCoder().estimate_size(full(batch)) < size * 3


def contents(batch):
    return batch.range.url, batch.range.ordinal, [(s.key, members_of(s)) for s in batch.samples]


def test_beam_uses_them_where_a_batch_is_shuffled(batch, monkeypatch):
    seen = []
    encode = wire_format.encode_batch
    monkeypatch.setattr(wire_format, "encode_batch", lambda one: seen.append(one) or encode(one))
    reading = bc.ReadSamples(batch.range.url) | beam.Reshuffle() | beam.Map(load)
    assert [contents(one) for one in eager(reading)] == [contents(batch)]
    assert len(seen) == 1


@pytest.mark.slow
def test_they_bring_a_batch_to_another_process(batch):
    flags = ["--direct_running_mode", "multi_processing", "--direct_num_workers", "2"]
    with beam.Pipeline("DirectRunner", options=PipelineOptions(flags)) as pipeline:
        batches = pipeline | bc.ReadSamples(batch.range.url) | beam.Reshuffle() | beam.Map(load)
        shown = batches | beam.Map(lambda one: repr(contents(one)))
        assert_that(shown, equal_to([repr(contents(batch))]))
