"""EmbedImages and its handler: what they give, what goes on meanwhile, and what the metrics count."""

import dataclasses
import pickle
import threading

import apache_beam as beam
import numpy as np
import pytest
import torch
from apache_beam.ml.inference.base import RunInference
from apache_beam.testing.util import assert_that

import beam_curator as bc
from beam_curator import progress
from beam_curator.errors import CurationError, UsageError
from beam_curator.identities import ModelIdentity
from beam_curator.models.encoders.clip import ClipEncoder
from beam_curator.models.encoders.device_model import DeviceModel
from beam_curator.output import job_input
from beam_curator.sources import sample_batches
from beam_curator.sources.tar.planning import plan_ranges
from beam_curator.transforms import clip_handler, embedding
from beam_curator.transforms.reading import ReadRanges
from tests.eager import eager
from tests.patience import HANG_SECONDS
from tests.tars import tar_bytes, write_shard


@pytest.fixture
def shards(tmp_path, small_jpeg):
    """Three shards of five samples."""
    for index in range(3):
        entries = [(f"{index}{n}.jpg", small_jpeg) for n in range(5)]
        (tmp_path / f"{index}.tar").write_bytes(tar_bytes(entries))
    return str(tmp_path / "*.tar")


def handler(**options) -> bc.ClipModelHandler:
    return bc.ClipModelHandler("tiny-untrained", **{"precision": "fp32", "device": "cpu", **options})


def assert_embedded(batches):
    assert len(batches) == 3
    for batch in batches:
        assert batch.embeddings.shape == (5, 768)
        np.testing.assert_allclose(np.linalg.norm(batch.embeddings.astype(float), axis=1), 1, atol=1e-3)
        assert batch.rows["width"].to_pylist() == [48] * 5


def test_images_are_embedded(shards):
    assert_embedded(eager(bc.ReadSamples(shards) | bc.EmbedImages(handler())))


def test_the_handler_by_itself_gives_embedded_batches_to_any_run_inference(shards):
    assert_embedded(eager(bc.ReadSamples(shards) | RunInference(handler())))


SUBMITTED: list[str] = []
CHANGED = threading.Condition()


def submit_noted(batch, *others, submit=clip_handler.submit_batch):
    with CHANGED:
        SUBMITTED.append(batch.range.url)
        CHANGED.notify_all()
    return submit(batch, *others)


def wait_for_the_next(batch):
    place = SUBMITTED.index(batch.range.url)
    with CHANGED:
        assert CHANGED.wait_for(lambda: len(SUBMITTED) > min(place + 1, 2), HANG_SECONDS)


def test_a_batch_is_begun_before_the_one_before_is_done_with(shards, monkeypatch):
    """The step that follows does not go on before the next batch has been submitted."""
    SUBMITTED.clear()
    monkeypatch.setattr(clip_handler, "submit_batch", submit_noted)
    ranges = [r for shard in job_input.match_shards([shards]) for r in plan_ranges(shard, 1 << 20)]
    eager(ReadRanges() | bc.EmbedImages(handler()) | beam.Map(wait_for_the_next), ranges)
    assert len(SUBMITTED) == 3


def test_what_is_under_way_cannot_leave_its_worker(shards):
    batch = sample_batches.read_batch(next(iter(plan_ranges(job_input.match_shards([shards])[0], 1 << 20))))
    pending = handler().working_ahead().run_inference([batch], handler().load_model())[0]
    assert len(pending.result()) == 5
    with pytest.raises(CurationError, match="EmbedImages must stay fused"):
        pickle.loads(pickle.dumps(pending)).result()


@pytest.mark.slow
def test_want_of_memory_is_counted_in_a_metric_and_in_the_batch(shards, monkeypatch):
    forward = DeviceModel._forward

    def limited(self, pixels):
        if len(pixels) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(self, pixels)

    monkeypatch.setattr(DeviceModel, "_forward", limited)
    pipeline = beam.Pipeline("FnApiRunner")
    counts = pipeline | bc.ReadSamples(shards) | bc.EmbedImages(handler(batch_size=4, decode_threads=1))
    counts |= beam.Map(lambda batch: batch.batch_reductions) | beam.CombineGlobally(sum)
    assert_that(counts, lambda sums: np.testing.assert_array_equal(sums, [2]))
    result = pipeline.run()
    query = beam.metrics.MetricsFilter().with_name("batch_reductions")
    assert [found.committed for found in result.metrics().query(query)["counters"]] == [2]


def test_a_model_is_shown_while_it_loads_and_failures_as_they_happen(tmp_path, small_jpeg, monkeypatch):
    entries = [("a.jpg", small_jpeg), ("b.jpg", b"no image"), ("c.txt", b"none either")]
    (one,) = plan_ranges(write_shard(tmp_path / "a.tar", tar_bytes(entries)), 1 << 26)
    shown, load = [], ClipEncoder.load

    def loading(encoder):
        shown.append(progress.BOARD.read().loading)
        load(encoder)

    monkeypatch.setattr(ClipEncoder, "load", loading)
    progress.BOARD.reset()
    model = handler()
    for _ in range(2):
        embedding.embed_batch(sample_batches.read_batch(one), model)
    assert shown == [("tiny-untrained",)]
    done = progress.BOARD.read()
    assert (done.loading, done.embedded, done.embedded_failed, done.failed) == ((), 6, 4, 0)


def test_options_that_change_the_numbers_change_the_identity():
    plain = ModelIdentity("tiny-untrained", trained=False, precision="fp32", member="clip")
    assert handler().identity == plain
    assert handler(compile=True, decode="fast").identity == plain.with_notes("torch.compile", "fast resize")
    assert handler(decode="exact").identity == plain
    assert handler(precision="bf16").identity == dataclasses.replace(plain, precision="bf16")
    assert handler(batch_size=3, decode_threads=1).identity == handler().identity


@pytest.mark.slow
def test_a_precision_that_the_worker_chose_is_that_of_its_batches(shards):
    chosen = handler(precision="auto")
    batches = eager(bc.ReadSamples(shards) | bc.EmbedImages(chosen))
    assert chosen.identity.precision == "auto"
    encoder = chosen.encoder()
    encoder.load()
    assert encoder.precision in ("fp32", "bf16")
    resolved = dataclasses.replace(chosen.identity, precision=encoder.precision)
    assert [batch.models for batch in batches] == 3 * [{"embedding": resolved}]


@pytest.mark.parametrize("batch_size", [0, "all", 2.5])
def test_a_batch_size_is_a_number_or_auto(batch_size):
    assert handler(batch_size="auto").load_model().get().batch_size is None
    with pytest.raises(UsageError, match="batch_size"):
        handler(batch_size=batch_size).load_model().get()
