"""Measures of pictures: against numbers worked out by hand, and against what must hold of any picture."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageFilter, ImageStat

from beam_curator.models.scorers import image_measures as measures
from beam_curator.models.scorers.image_measures import ImageMeasures
from beam_curator.models.scorers.scorer import check_scorer
from tests.examples import examples

SIDES = st.tuples(st.integers(1, 90), st.integers(1, 90), st.just(3))
PICTURES = arrays.arrays(np.uint8, SIDES)


def plain(*colour: int, height: int = 40, width: int = 60) -> np.ndarray:
    """A picture of one colour."""
    return np.full((height, width, 3), colour, np.uint8)


def scene(seed: int = 0, height: int = 300, width: int = 400) -> np.ndarray:
    """Discs of many colours, with sharp edges."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.full((height, width, 3), random.integers(40, 200, 3), np.uint8)
    for _ in range(40):
        radius = random.integers(10, 60)
        inside = (y - random.integers(height)) ** 2 + (x - random.integers(width)) ** 2 < radius**2
        pixels[inside] = random.integers(0, 256, 3)
    return pixels


def blurred(pixels: np.ndarray, radius: float) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ((0, 0, 0), 0.0),
        ((255, 255, 255), 1.0),
        ((255, 0, 0), math.sqrt(0.241)),
        ((0, 255, 0), math.sqrt(0.691)),
        ((0, 0, 255), math.sqrt(0.068)),
        ((100, 150, 200), math.sqrt(0.241 * 100**2 + 0.691 * 150**2 + 0.068 * 200**2) / 255),
    ],
)
def test_brightness_of_one_colour_is_its_perceived_brightness(colour, expected):
    assert measures.brightness(plain(*colour)) == pytest.approx(expected, abs=1e-12)
    assert measures.brightness_percentiles(plain(*colour), (0, 5, 50, 99, 100)) == pytest.approx([expected] * 5)


def test_brightness_is_that_of_the_mean_colour():
    pixels = np.concatenate([plain(0, 0, 0), plain(255, 255, 255), plain(255, 255, 255)])
    assert measures.brightness(pixels) == pytest.approx(2 / 3)


@given(PICTURES)
@examples(50)
def test_percentiles_are_those_of_the_brightness_of_each_pixel(pixels):
    red, green, blue = pixels.astype(float).reshape(-1, 3).T
    each = np.sqrt(0.241 * red**2 + 0.691 * green**2 + 0.068 * blue**2) / 255
    wanted = (0, 1, 5, 50, 99, 100)
    assert measures.brightness_percentiles(pixels, wanted) == pytest.approx(np.percentile(each, wanted), abs=1e-9)


def test_a_dark_picture_has_no_bright_pixels_and_a_light_one_no_dark_ones():
    night, snow = scene() // 4, 243 + scene() // 22
    assert measures.brightness_percentiles(night, (99,))[0] < 0.32
    assert measures.brightness_percentiles(snow, (5,))[0] > 0.95
    (p5, p99) = measures.brightness_percentiles(scene(), (5, 99))
    assert p5 < 0.95
    assert p99 > 0.32


@given(arrays.arrays(np.uint8, SIDES, elements=st.integers(0, 200)), st.integers(1, 55))
@examples(50)
def test_a_brighter_picture_is_brighter(pixels, more):
    brighter = pixels + np.uint8(more)
    assert measures.brightness(brighter) > measures.brightness(pixels)
    pairs = zip(*(measures.brightness_percentiles(p, (5, 99)) for p in (pixels, brighter)), strict=True)
    assert all(after > before for before, after in pairs)


def test_contrast_is_the_deviation_of_the_grey_levels():
    assert measures.contrast(plain(10, 200, 90)) == 0
    halves = np.concatenate([plain(0, 0, 0), plain(255, 255, 255)])
    assert measures.contrast(halves) == pytest.approx(0.5)
    assert measures.contrast(np.concatenate([plain(100, 100, 100), plain(151, 151, 151)])) == pytest.approx(0.1)
    assert measures.contrast(128 + scene() // 4) < measures.contrast(scene()) / 3


def test_edges_are_found_where_levels_change():
    # 5 x 5, grey: 0 but for one pixel of 10 in the middle. Of the nine pixels inside, that one has an edge of 8 x 10,
    # its neighbours have -10, which is cut to 0; the border holds its levels.
    pixels = np.zeros((5, 5, 3), np.uint8)
    pixels[2, 2] = 10
    deviation = math.sqrt(80**2 / 25 - (80 / 25) ** 2)
    assert measures.blur(pixels) == pytest.approx(1 - math.exp(-deviation / 100))


def test_the_border_of_one_colour_counts_as_in_cleanvision():
    # 64 x 64: 252 pixels of the border hold the level 200, 3844 inside have no edge.
    share = 252 / 4096
    deviation = 200 * math.sqrt(share * (1 - share))
    assert measures.blur(plain(200, 200, 200, height=640, width=640)) == pytest.approx(1 - math.exp(-deviation / 100))


@pytest.mark.parametrize("seed", range(5))
def test_the_more_a_picture_is_blurred_the_lower_is_its_blur(seed):
    sharp = scene(seed)
    values = [measures.blur(sharp), *(measures.blur(blurred(sharp, radius)) for radius in (4, 8, 16, 32))]
    assert values == sorted(values, reverse=True)
    assert values[0] > 1.3 * values[-1]


def test_measures_are_those_that_cleanvision_gave():
    # cleanvision 0.3.7 with Pillow 12.3; Pillow 13 resizes a level here and there in another way.
    got = ImageMeasures()([scene(1), scene(2, 70, 50)])
    names = ["brightness", "brightness_p5", "brightness_p99", "entropy"]
    assert [got[name][0] for name in names] == pytest.approx(
        [0.527026782989459, 0.28305123347008226, 0.9641401497571307, 5.517584129056617], abs=1e-9
    )
    assert [got[name][1] for name in names] == pytest.approx(
        [0.472386846703439, 0.4778852717429841, 0.4778852717429841, 1.705006654936673], abs=1e-9
    )
    assert got["blur"] == pytest.approx([0.46714152998995906, 0.20992571701528273], abs=2e-3)


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (1, 3000), (3000, 1), (64, 64), (65, 64), (2, 900)])
def test_a_picture_of_any_shape_is_measured(shape):
    got = ImageMeasures()([np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)])
    assert all(np.isfinite(values).all() for values in got.values())


def test_entropy_counts_the_levels_of_all_channels():
    assert measures.entropy(plain(7, 7, 7)) == pytest.approx(math.log2(3))
    assert measures.entropy(plain(1, 2, 3)) == pytest.approx(math.log2(3))
    halves = np.concatenate([plain(0, 0, 0), plain(255, 255, 255)])
    assert measures.entropy(halves) == pytest.approx(math.log2(6))
    every_level = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    assert measures.entropy(every_level) == pytest.approx(math.log2(768))


@given(PICTURES)
@examples(50)
def test_entropy_blur_and_contrast_are_those_that_pillow_gives(pixels):
    image = Image.fromarray(pixels)
    assert measures.entropy(pixels) == pytest.approx(image.entropy(), abs=1e-9)
    longer = max(image.size)
    if longer > 64:
        image = image.resize([max(1, int(side // (longer / 64))) for side in image.size])
    edges = ImageStat.Stat(image.convert("L").filter(ImageFilter.FIND_EDGES))
    assert measures.blur(pixels) == pytest.approx(1 - math.exp(-edges.stddev[0] / 100), abs=1e-9)
    assert measures.contrast(pixels) == pytest.approx(
        ImageStat.Stat(Image.fromarray(pixels).convert("L")).stddev[0] / 255, abs=1e-9
    )


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20))))
@examples(30)
def test_a_picture_with_three_equal_channels_is_greyscale_and_one_pixel_that_is_not_tells(levels):
    pixels = np.stack([levels] * 3, axis=-1)
    assert measures.is_greyscale(pixels)
    for channel in range(3):
        coloured = pixels.copy()
        coloured[-1, -1, channel] ^= 1
        assert not measures.is_greyscale(coloured)


def test_a_grey_photograph_is_greyscale_however_its_file_holds_it():
    grey = Image.fromarray(scene()).convert("L")
    assert measures.is_greyscale(np.asarray(grey.convert("RGB")))
    assert not measures.is_greyscale(scene())


def test_the_scorer_gives_every_column_for_every_picture_in_their_order():
    scorer = ImageMeasures()
    check_scorer(scorer)
    pictures = [scene(1), plain(3, 3, 3), scene(2, height=7, width=500)]
    got = scorer(pictures)
    assert list(got) == [column.name for column in scorer.columns]
    assert {column.name: column.type for column in scorer.columns if column.type != "number"} == {"greyscale": "flag"}
    for index, pixels in enumerate(pictures):
        alone = scorer([pixels])
        assert {name: [values[index]] for name, values in got.items()} == alone
    assert got["greyscale"] == [False, True, False]
    assert got["brightness_p5"][0] < got["brightness_p99"][0]


def test_pictures_are_left_as_they_are_and_the_scorer_travels():
    pixels = scene()
    before = pixels.copy()
    pixels.flags.writeable = False
    scorer = pickle.loads(pickle.dumps(ImageMeasures()))
    assert scorer([pixels]) == ImageMeasures()([before])
    assert np.array_equal(pixels, before)
    assert scorer.identity == ImageMeasures().identity
    assert scorer.identity.trained
