"""The encoder against open_clip itself, on small architectures with random weights."""

import gc
import logging
import pickle
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import beam_curator
from beam_curator.errors import UsageError
from beam_curator.models.encoders import clip
from beam_curator.models.encoders.clip import ClipEncoder, ClipSpec
from tests.models.small_clip import PHOTOGRAPHS, SMALL, cosines, encode, open_clip_embeddings, random_model

pytestmark = pytest.mark.usefixtures("small_architectures")


def test_embeddings_are_those_of_open_clip(checkpoint):
    expected = open_clip_embeddings(SMALL, checkpoint, PHOTOGRAPHS)
    got = encode(PHOTOGRAPHS, model=SMALL, checkpoint=checkpoint, batch_size=4)
    assert got.failures == [None] * 10
    assert got.embeddings.dtype == np.float16
    assert got.embeddings.shape == (10, 96)
    assert np.abs(got.embeddings - expected).max() < 1e-3
    np.testing.assert_allclose(np.linalg.norm(got.embeddings.astype(float), axis=1), 1, atol=1e-3)
    assert np.abs(expected[0] - expected[1:]).max() > 1e-2  # or the comparison would prove nothing


def test_an_image_embeds_the_same_whatever_its_neighbours(checkpoint):
    options = {"model": SMALL, "checkpoint": checkpoint}
    together = encode(PHOTOGRAPHS, **options, batch_size=64).embeddings
    alone = np.concatenate([encode([data], **options).embeddings for data in PHOTOGRAPHS[:3]])
    in_pairs = encode(PHOTOGRAPHS[::-1], **options, batch_size=2).embeddings[::-1]
    assert np.abs(together[:3].astype(float) - alone).max() < 1e-3
    assert np.abs(together.astype(float) - in_pairs).max() < 1e-3


def test_a_bad_image_costs_its_row_and_nothing_else(checkpoint):
    options = {"model": SMALL, "checkpoint": checkpoint, "batch_size": 3}
    bad = [b"", b"garbage", PHOTOGRAPHS[0][:900], None]
    mixed = [bad[0], *PHOTOGRAPHS[:4], bad[1], bad[2], *PHOTOGRAPHS[4:], bad[3]]
    got = encode(mixed, **options)
    good = [row for row, data in enumerate(mixed) if data not in bad]
    assert [got.failures[row] for row in (0, 5, 6, 13)] == [
        "empty image",
        "not an image that can be decoded",
        "truncated image",
        "sample without an image",
    ]
    assert not got.embeddings[[0, 5, 6, 13]].any()
    assert np.abs(got.embeddings[good].astype(float) - encode(PHOTOGRAPHS, **options).embeddings).max() < 1e-3
    facts = got.facts[1], got.facts[5], got.facts[13]
    assert (facts[0].width, facts[0].format) == (200, "jpeg")
    assert (facts[1].bytes, facts[1].width) == (7, None)
    assert facts[2] is None


def test_only_bad_images_make_only_failures():
    got = encode([None, b"", b"garbage"], model="tiny-untrained")
    assert got.embeddings.shape == (3, 768)
    assert not got.embeddings.any()
    assert None not in got.failures


def test_the_pixel_limit_is_the_specs():
    got = encode(PHOTOGRAPHS[:1], model="tiny-untrained", max_image_pixels=100)
    assert got.failures == ["image of 200x410 pixels is over the limit of 100 pixels"]


def test_an_embedding_that_is_not_finite_is_a_failure(tmp_path):
    model = random_model()
    model.visual.proj.data[:] = float("nan")
    torch.save(model.state_dict(), tmp_path / "nan.pt")
    got = encode(PHOTOGRAPHS[:2], model=SMALL, checkpoint=str(tmp_path / "nan.pt"))
    assert got.failures == ["embedding is not finite"] * 2
    assert not got.embeddings.any()


def test_nothing_to_encode_loads_nothing():
    encoder = ClipEncoder(ClipSpec("ViT-L-14", checkpoint="/nowhere.pt"))
    assert encoder.encode([]).embeddings.shape == (0, 768)
    assert (encoder.dim, encoder.preparation.shape, encoder.member) == (768, (224, 224), "clip")
    assert (encoder.device, encoder.precision) == (None, None)


def test_making_an_encoder_imports_no_torch():
    code = """
import sys
from beam_curator.models.encoders.clip import ClipEncoder, ClipSpec
ClipEncoder(ClipSpec())
print(*{"torch", "open_clip", "apache_beam"} & set(sys.modules))
"""
    root = Path(beam_curator.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_a_spec_can_be_pickled_and_an_encoder_weakly_referenced():
    spec = ClipSpec("tiny-untrained", precision="fp32")
    assert pickle.loads(pickle.dumps(spec)) == spec
    encoder = ClipEncoder(spec)
    encoder.encode(PHOTOGRAPHS[:1])
    reference = weakref.ref(encoder)
    del encoder
    gc.collect()
    assert reference() is None


def test_threads_share_one_model_and_get_their_own_results(monkeypatch):
    loads = []
    load = clip.load_tower

    def counted(*args, **options):
        loads.append(args)
        return load(*args, **options)

    monkeypatch.setattr(clip, "load_tower", counted)
    encoder = ClipEncoder(ClipSpec("tiny-untrained", precision="fp32", device="cpu", batch_size=2))
    parts = [PHOTOGRAPHS[i:] + PHOTOGRAPHS[:i] for i in range(6)]
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(encoder.encode, parts))
    assert len(loads) == 1
    for i, got in enumerate(results):
        expected = np.roll(results[0].embeddings, -i, axis=0)
        assert np.abs(got.embeddings.astype(float) - expected).max() < 1e-3


@pytest.mark.slow
def test_an_oblong_input_is_prepared_and_embedded_as_by_open_clip(tmp_path):
    name, path = f"{SMALL}-oblong", tmp_path / "oblong.pt"
    torch.save(random_model(name).state_dict(), path)
    expected = open_clip_embeddings(name, str(path), PHOTOGRAPHS)
    got = encode(PHOTOGRAPHS, model=name, checkpoint=str(path))
    assert np.abs(got.embeddings - expected).max() < 1e-3
    assert ClipEncoder(ClipSpec(name)).preparation.shape == (224, 448)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"device": "cpu", "precision": "fp16"},
            "precision 'fp16' needs a CUDA device, not 'cpu': give precision 'bf16' or 'fp32'",
        ),
        ({"device": "tpu"}, "device is 'tpu': choose one of auto, cpu, cuda"),
        ({"precision": "int8"}, "precision is 'int8': choose one of auto, fp32, bf16, fp16"),
        ({"batch_size": 0}, "batch_size is 0: it must be at least 1"),
        ({"decode_threads": -1}, "decode_threads is -1: it must be at least 0"),
        ({"max_image_pixels": 0}, "max_image_pixels is 0: it must be at least 1"),
    ],
)
def test_a_spec_that_cannot_work_is_refused_when_it_is_made(options, message):
    with pytest.raises(UsageError) as caught:
        ClipSpec(**options)
    assert str(caught.value) == message


def test_loading_leaves_the_random_state_alone_and_says_nothing(checkpoint, caplog):
    state = torch.random.get_rng_state()
    with caplog.at_level(logging.WARNING):
        encode(PHOTOGRAPHS[:1], model=SMALL, checkpoint=checkpoint)
        encode(PHOTOGRAPHS[:1], model="tiny-untrained")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert caplog.records == []


def test_the_untrained_model_tells_images_apart_and_is_the_same_every_time():
    embeddings = encode(PHOTOGRAPHS, model="tiny-untrained").embeddings.astype(np.float32)
    assert embeddings.shape == (10, 768)
    others = (embeddings @ embeddings.T)[np.triu_indices(10, 1)]
    assert np.median(others) < 0.95
    assert others.max() < 0.999
    again = encode(PHOTOGRAPHS, model="tiny-untrained").embeddings.astype(np.float32)
    np.testing.assert_array_equal(again, embeddings)
    bf16 = encode(PHOTOGRAPHS, model="tiny-untrained", precision="bf16").embeddings
    assert cosines(embeddings, bf16).min() > 0.999
