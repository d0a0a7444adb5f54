"""Pictures as each kind of tower wants them, against open_clip's own transform."""

import numpy as np
import open_clip
import pytest
from PIL import Image

from beam_curator.images import ImageError, Preparation, preprocess
from beam_curator.models.pixels.torch_resizing import fast_preprocess
from tests.images.image_files import picture

SHAPES = [(500, 333), (333, 500), (64, 65), (97, 31), (1, 1), (3, 90), (1200, 40)]
MODES = ["shortest", "longest", "squash"]
FILTERS = ["bicubic", "bilinear"]


def open_clips(image, preparation):
    """uint8 [height, width, 3] as open_clip's transform has them before it divides by 255."""
    transform = open_clip.image_transform(
        preparation.size,
        is_train=False,
        mean=(0, 0, 0),
        std=(1, 1, 1),
        resize_mode=preparation.resize_mode,
        interpolation=preparation.interpolation,
        fill_color=preparation.fill_color,
    )
    return (transform(image) * 255).round().byte().permute(1, 2, 0).numpy()


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES)
def test_pixels_are_bit_equal_in_each_mode_and_filter(shape, mode, interpolation):
    image, preparation = picture(width=shape[0], height=shape[1]), Preparation(64, mode, interpolation, fill_color=77)
    if mode == "longest" and min(shape) * 64 / max(shape) <= 0.5:
        pytest.skip("open_clip's own fails where a side is rounded to nothing")
    np.testing.assert_array_equal(preprocess(image, preparation), open_clips(image, preparation))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(64, 96), (96, 64)])
@pytest.mark.parametrize("shape", SHAPES[:4])
def test_pixels_are_bit_equal_for_oblong_inputs(shape, size, mode):
    image, preparation = picture(width=shape[0], height=shape[1]), Preparation(size, mode)
    pixels = preprocess(image, preparation)
    assert pixels.shape == (*size, 3)
    np.testing.assert_array_equal(pixels, open_clips(image, preparation))


@pytest.mark.slow
@pytest.mark.parametrize("fill_color", [0, 200])
@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "YCbCr", "LAB"])
@pytest.mark.parametrize("resize_mode", ["longest", "squash"])
def test_pictures_of_other_modes_are_resized_and_filled_as_open_clip_does(resize_mode, mode, fill_color):
    image = picture(width=300, height=201).quantize(32) if mode == "P" else picture(mode, 300, 201)
    preparation = Preparation(64, resize_mode, fill_color=min(fill_color, 31) if mode == "P" else fill_color)
    np.testing.assert_array_equal(preprocess(image, preparation), open_clips(image, preparation))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(1, 3000), (3000, 1), (5000, 2)])
def test_a_strip_of_a_few_pixels_takes_no_gigabytes_in_any_mode(shape, mode):
    pixels = preprocess(Image.new("L", shape, 77), Preparation(64, mode, fill_color=77))
    assert (pixels == 77).all()


@pytest.mark.parametrize("interpolation", ["lanczos", "hamming", "box", "bilinear"])
def test_the_crop_of_a_strip_is_that_of_the_whole_resized_picture(interpolation):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (900, 11, 3), dtype=np.uint8))
    pixels = preprocess(noise, Preparation(16, interpolation=interpolation))
    whole = noise.resize((16, int(16 * 900 / 11)), Image.Resampling[interpolation.upper()])
    top = round((whole.height - 16) / 2)
    expected = np.asarray(whole.crop((0, top, 16, top + 16))).astype(int)
    assert np.abs(pixels - expected).max() <= 1


def test_a_colour_fills_what_was_rgb_before():
    preparation = Preparation(64, "longest", fill_color=(1, 2, 3), rgb_first=True)
    pixels = preprocess(picture("L", 128, 64), preparation)
    assert pixels[0, 0].tolist() == pixels[-1, -1].tolist() == [1, 2, 3]


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES[:4])
@pytest.mark.parametrize("size", [64, (64, 96)])
def test_torchs_filters_follow_each_mode_within_a_level(shape, mode, interpolation, size):
    image = picture(width=shape[0], height=shape[1])
    preparation = Preparation(size, mode, interpolation, fill_color=(7, 8, 9), resized=80, rgb_first=True)
    difference = np.abs(fast_preprocess(image, preparation).astype(int) - preprocess(image, preparation))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.03


def test_a_filter_that_torch_does_not_have_is_pillows():
    preparation = Preparation(64, interpolation="lanczos")
    image = picture()
    np.testing.assert_array_equal(fast_preprocess(image, preparation), preprocess(image, preparation))


def test_memory_that_is_not_there_is_a_failed_image(monkeypatch):
    def none_left(self, *args, **options):
        raise MemoryError

    monkeypatch.setattr(Image.Image, "resize", none_left)
    for mode in MODES:
        with pytest.raises(ImageError):
            preprocess(picture(), Preparation(64, mode))
