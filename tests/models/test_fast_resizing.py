"""torch's bicubic filter against Pillow's."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from beam_curator.images import ImageError, Preparation, preprocess
from beam_curator.models.encoders.clip import ClipEncoder, ClipSpec
from beam_curator.models.pixels.decoding import Decoder
from beam_curator.models.pixels.torch_resizing import fast_preprocess


def picture(width: int, height: int) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    levels = np.stack([x * 255 / width, y * 255 / height, 90 + 60 * np.sin(x / 37) * np.cos(y / 23)], -1)
    noise = np.random.default_rng(0).normal(0, 20, levels.shape)
    return Image.fromarray(np.clip(levels + noise, 0, 255).astype(np.uint8))


def encoded(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG")
    return stream.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("size", [224, 336])
@pytest.mark.parametrize("shape", [(640, 480), (333, 500), (1601, 1203), (224, 225), (224, 224), (90, 100), (1, 1)])
def test_levels_differ_by_one_and_few_do(shape, size):
    image = picture(*shape)
    difference = np.abs(fast_preprocess(image, Preparation(size)).astype(int) - preprocess(image, Preparation(size)))
    assert difference.shape == (size, size, 3)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.02


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "YCbCr", "LAB"])
def test_pictures_of_other_modes_are_resized_as_ever(mode):
    image = picture(300, 200).convert(mode) if mode != "LAB" else Image.new("LAB", (300, 200), "red")
    np.testing.assert_array_equal(fast_preprocess(image, Preparation()), preprocess(image, Preparation()))


def test_a_very_long_picture_is_never_made_whole():
    image = picture(3, 2000)
    np.testing.assert_array_equal(fast_preprocess(image, Preparation()), preprocess(image, Preparation()))


def test_facts_and_failures_do_not_depend_on_it():
    exact, fast = Decoder(Preparation(), 1_000_000), Decoder(Preparation(), 1_000_000, fast=True)
    data = encoded(picture(640, 480))
    assert fast(data).facts == exact(data).facts
    for bad in (None, b"", b"garbage", data[:2000], encoded(picture(1200, 1000))):
        assert fast(bad).failure == exact(bad).failure is not None


def test_want_of_memory_is_one_reason_in_both_ways(monkeypatch):
    def full(*_args, **_named):
        raise RuntimeError(
            "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried"
        )

    def as_full(*_args, **_named):
        raise MemoryError

    monkeypatch.setattr(torch.nn.functional, "interpolate", full)
    monkeypatch.setattr(Image.Image, "resize", as_full)
    image = picture(300, 200)
    for resize in (preprocess, fast_preprocess):
        with pytest.raises(ImageError, match=r"^not enough memory to decode the image$"):
            resize(image, Preparation())


def test_embeddings_hardly_move():
    images = [encoded(picture(400 + 50 * index, 300)) for index in range(4)]
    spec = {"model": "tiny-untrained", "precision": "fp32", "device": "cpu"}
    exact = ClipEncoder(ClipSpec(**spec)).encode(images).embeddings.astype(float)
    fast = ClipEncoder(ClipSpec(**spec, decode="fast")).encode(images).embeddings.astype(float)
    assert (exact != fast).any()
    assert np.abs(exact - fast).max() < 1e-3


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted where Linux lists them")
def test_it_starts_no_threads_of_torchs_beside_those_of_the_model():
    # In a process of its own: what has computed with torch before has its threads already.
    code = """
import os, threading
from PIL import Image
from beam_curator.images import Preparation
from beam_curator.models.pixels.torch_resizing import fast_preprocess
import torch
torch.set_num_threads(4)
counts = []
def resize():
    before = len(os.listdir("/proc/self/task"))
    fast_preprocess(Image.new("RGB", (1600, 1200)), Preparation())
    counts.append(len(os.listdir("/proc/self/task")) - before)
thread = threading.Thread(target=resize)
thread.start()
thread.join()
assert counts == [0], counts
"""
    subprocess.run([sys.executable, "-c", code], check=True)
