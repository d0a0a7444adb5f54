"""The plain functions beside the transforms give of a batch what the transforms give of it."""

import pickle

import apache_beam as beam
import numpy as np
import pytest

import beam_curator as bc
from beam_curator.models.scorers.heads import HeadScorer
from beam_curator.output.job_input import match_shards
from beam_curator.sources.sample_batches import read_batch
from beam_curator.sources.tar.planning import plan_ranges
from tests.tars import tar_bytes, write_shard


@pytest.fixture
def shard(tmp_path, small_jpeg):
    entries = [("a.jpg", small_jpeg), ("b.jpg", b"no image"), ("c.jpg", small_jpeg)]
    return write_shard(tmp_path / "a.tar", tar_bytes(entries)).url


LOADS = []


def load_head():
    LOADS.append(1)
    return lambda embeddings: embeddings[:, 0].astype(np.float32)


SEEN = []


def see(batch):
    SEEN.append(batch)


def test_they_give_what_the_transforms_give(shard):
    handler = bc.ClipModelHandler("tiny-untrained", precision="fp32", device="cpu")
    first = bc.Score(HeadScorer("first", load_head))
    rules = [bc.AtLeast("first", -1), bc.AtLeast("width", 48)]
    SEEN.clear()
    with beam.Pipeline("FnApiRunner") as pipeline:
        batches = pipeline | bc.ReadSamples(shard) | bc.EmbedImages(handler) | first | bc.Select(*rules)
        batches | beam.Map(see)
    (whole,) = plan_ranges(match_shards(shard)[0], 1 << 30)
    batch = bc.score_batch(bc.embed_batch(read_batch(whole), handler), first)
    assert bc.select(batch.rows, rules).equals(SEEN[0].rows)
    np.testing.assert_array_equal(batch.embeddings, SEEN[0].embeddings)
    assert batch.models == SEEN[0].models


def test_model_and_head_are_loaded_once_and_do_not_travel(shard):
    handler = bc.ClipModelHandler("tiny-untrained", precision="fp32", device="cpu")
    first = bc.Score(HeadScorer("first", load_head))
    (whole,) = plan_ranges(match_shards(shard)[0], 1 << 30)
    LOADS.clear()
    for _ in range(2):
        bc.score_batch(bc.embed_batch(read_batch(whole), handler), first)
    assert handler.encoder() is handler.encoder()
    assert len(LOADS) == 1
    assert pickle.loads(pickle.dumps(handler)).encoder() is not handler.encoder()


def test_bytes_that_were_lost_on_the_way_are_read_again(shard):
    handler = bc.ClipModelHandler("tiny-untrained", precision="fp32", device="cpu")
    (whole,) = plan_ranges(match_shards(shard)[0], 1 << 30)
    batch = read_batch(whole)
    embedded = bc.embed_batch(pickle.loads(pickle.dumps(batch)), handler)
    assert embedded.rows.equals(bc.embed_batch(batch, handler).rows)


def test_a_batch_that_was_not_embedded_is_not_scored(shard):
    (whole,) = plan_ranges(match_shards(shard)[0], 1 << 30)
    with pytest.raises(bc.CurationError, match="put EmbedImages before"):
        bc.score_batch(read_batch(whole), bc.ScoreAesthetic("untrained"))
