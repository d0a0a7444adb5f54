"""Decoding with torchvision's decoder, run on the CPU: the same operations, with libjpeg-turbo in nvJPEG's place."""

import io

import numpy as np
import pytest
from PIL import ExifTags, Image

from beam_curator.errors import UsageError
from beam_curator.models.clip import ClipEncoder, ClipSpec
from beam_curator.models.decoding import Decoder
from beam_curator.models.gpu_decoding import GpuDecoder

CPU = Decoder(224, 10_000_000)


def jpeg(width: int = 640, height: int = 427, orientation: int = 1, mode: str = "RGB", **options) -> bytes:
    y, x = np.mgrid[0:height, 0:width]
    levels = np.stack([x * 255 / width, y * 255 / height, 90 + 60 * np.sin(x / 37) * np.cos(y / 23)], -1)
    levels[: height // 3, : width // 3] = (250, 30, 60)  # no symmetry that a wrong turn could hide in
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stream = io.BytesIO()
    Image.fromarray(levels.astype(np.uint8)).convert(mode).save(stream, "JPEG", exif=exif, **options)
    return stream.getvalue()


def refuse(*_):
    raise AssertionError("decoded on the CPU")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(640, 427), (300, 500), (100, 90)])
def test_it_is_nearly_what_pillow_makes_of_it(orientation, size):
    data = jpeg(*size, orientation)
    expected = CPU(data)
    got = GpuDecoder(type("Refusing", (), {"size": 224, "max_pixels": 10_000_000, "__call__": refuse})(), "cpu")(data)
    assert got.failure is None
    difference = np.abs(got.pixels.astype(int) - expected.pixels)
    assert difference.mean() < 1.0
    assert np.percentile(difference, 99.9) <= 12
    assert bin(int(got.facts.phash, 16) ^ int(expected.facts.phash, 16)).count("1") <= 6
    got_but_hash, expected_but_hash = ({**vars(image.facts), "phash": None} for image in (got, expected))
    assert got_but_hash == expected_but_hash


@pytest.mark.parametrize(
    "data",
    [
        None,
        b"",
        b"garbage",
        jpeg()[:4000],
        jpeg(mode="CMYK"),
        jpeg(4000, 3000),
        jpeg(3000, 20),
        b"\xff\xd8" + b"damage" * 20 + b"\xff\xd9",
    ],
    ids=["none", "empty", "garbage", "truncated", "cmyk", "too large", "a strip", "damaged"],
)
def test_all_else_is_what_the_cpu_makes_of_it(data):
    got, expected = GpuDecoder(CPU, "cpu")(data), CPU(data)
    assert (got.facts, got.failure) == (expected.facts, expected.failure)
    assert (got.pixels is None) == (expected.pixels is None)


def test_grey_jpegs_become_rgb():
    got, expected = GpuDecoder(CPU, "cpu")(jpeg(mode="L")), CPU(jpeg(mode="L"))
    assert np.abs(got.pixels.astype(int) - expected.pixels).max() <= 2


def test_without_a_gpu_it_is_refused():
    with pytest.raises(UsageError, match="jpeg_gpu was asked for, and the device is 'cpu'"):
        ClipEncoder(ClipSpec("tiny-untrained", device="cpu", jpeg_gpu=True)).load()
    with pytest.raises(UsageError, match="give one of them"):
        ClipSpec("tiny-untrained", jpeg_draft=True, jpeg_gpu=True)
