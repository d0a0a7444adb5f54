"""A model's input, against open_clip's own transform; what turns a picture upright."""

import io
import struct

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from beam_curator.images import Preparation, decode, preprocess
from tests.images.image_files import (
    SAME_AS_OPEN_CLIP,
    SIZE,
    encoded,
    model_input,
    open_clip_levels,
    picture,
    with_orientation,
)


@pytest.mark.slow
@pytest.mark.parametrize("name", SAME_AS_OPEN_CLIP)
def test_pixels_are_bit_equal_to_those_of_open_clips_transform(name):
    data = SAME_AS_OPEN_CLIP[name]
    expected = open_clip_levels(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(model_input(data), expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "size"),
    [((500, 333), 224), ((333, 500), 336), ((224, 225), 224), ((1001, 777), 224), ((1, 1), 336), ((3, 90), 224)],
)
def test_pixels_are_bit_equal_at_odd_sizes(shape, size):
    data = encoded(picture(width=shape[0], height=shape[1]), "PNG")
    np.testing.assert_array_equal(model_input(data, size), open_clip_levels(Image.open(io.BytesIO(data)), size))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_pillow_would(orientation):
    data = with_orientation(picture(), orientation)
    image, facts = decode(data)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(np.asarray(image), np.asarray(upright))
    assert (facts.width, facts.height) == upright.size == ((320, 240) if orientation < 5 else (240, 320))
    # By design unlike open_clip, which sees the picture as it is stored: compared on the upright one.
    np.testing.assert_array_equal(preprocess(image, Preparation(SIZE)), open_clip_levels(upright))


@pytest.mark.parametrize("orientation", [6, 3])
@pytest.mark.parametrize("format_name", ["PNG", "WEBP", "TIFF"])
def test_orientation_is_applied_in_other_formats_than_jpeg(format_name, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    data = encoded(picture(), format_name, exif=exif, lossless=True)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(model_input(data), open_clip_levels(upright))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_broken_exif_block_leaves_the_image_as_it_is_stored():
    plain = encoded(picture(), "JPEG")
    for exif in (
        b"Exif\0\0garbage",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\7" * 40,
    ):
        data = encoded(picture(), "JPEG", exif=exif)
        assert exif in data
        np.testing.assert_array_equal(model_input(data), model_input(plain))


def test_orientation_survives_exif_that_cannot_be_written_again():
    exif = struct.pack("<2sHIH", b"II", 42, 8, 2)
    exif += struct.pack("<HHII", ExifTags.Base.Orientation, 3, 1, 6)
    exif += struct.pack("<HHII", ExifTags.IFD.Exif, 2, 4, 0x41414141)  # a pointer that is text
    data = encoded(picture(), "JPEG", exif=b"Exif\0\0" + exif + b"\0\0\0\0")
    assert decode(data)[0].size == (240, 320)


def test_a_broken_colour_profile_is_ignored():
    for format_name in ("JPEG", "PNG", "WEBP", "TIFF"):
        plain = encoded(picture(), format_name)
        broken = encoded(picture(), format_name, icc_profile=b"not a profile" * 20)
        np.testing.assert_array_equal(model_input(broken), model_input(plain))


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(3, 1000), (1000, 3), (1, 400), (5000, 100)])
def test_a_strip_is_cropped_before_it_is_resized_and_looks_the_same(shape):
    image = picture(width=shape[0], height=shape[1])
    difference = np.abs(preprocess(image, Preparation(SIZE)).astype(int) - open_clip_levels(image))
    assert difference.max() <= 1


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
@pytest.mark.parametrize("shape", [(13, 1001), (499, 5)])
def test_a_strip_of_noise_in_any_mode_looks_as_open_clip_sees_it(shape, mode):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*shape[::-1], 3), dtype=np.uint8))
    image = noise.quantize(64) if mode == "P" else noise.convert(mode)
    difference = np.abs(preprocess(image, Preparation(SIZE)).astype(int) - open_clip_levels(image))
    assert difference.max() <= (0 if mode in ("P", "1") else 1)


def test_a_strip_of_one_pixel_takes_no_gigabytes():
    # Resized whole, as open_clip does, it would be 224 x 44 800 000 pixels: 30 GB.
    data = encoded(Image.new("L", (1, 200_000), 77), "PNG")
    assert (model_input(data) == 77).all()
