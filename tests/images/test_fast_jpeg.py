"""Plain colour JPEGs by libjpeg-turbo itself: Pillow's levels and facts, or Pillow."""

import io

import numpy as np
import pytest
from PIL import Image

from beam_curator.images import ImageError, decode, levels_of


def photograph(width, height, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    levels = np.stack([128 + 100 * np.sin(x / 9), 128 + 90 * np.cos(y / 7), 255 * x / width], -1)
    return Image.fromarray(np.clip(levels + rng.normal(0, 25, levels.shape), 0, 255).astype(np.uint8))


def jpeg(image, **options):
    stream = io.BytesIO()
    image.save(stream, "JPEG", **options)
    return stream.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return {"exif": exif}


WAYS = {
    "plain": {},
    "progressive": {"progressive": True},
    "optimised": {"optimize": True, "quality": 95},
    "4:4:4": {"subsampling": 0, "quality": 100},
    "4:2:2": {"subsampling": 1},
    "poor": {"quality": 5},
    "RGB within": {"keep_rgb": True},
    "restarts": {"restart_marker_blocks": 3},
    **{f"orientation {number}": turned(number) for number in (2, 3, 6, 7)},
}


@pytest.mark.parametrize("size", [(400, 301), (17, 9), (1, 1), (130, 500)])
@pytest.mark.parametrize("way", WAYS)
def test_levels_and_facts_are_pillows(way, size):
    data = jpeg(photograph(*size), **WAYS[way])
    (exact, facts), (fast, same) = decode(data), decode(data, fast=True)
    assert exact.mode == fast.mode == "RGB"
    assert same == facts
    np.testing.assert_array_equal(levels_of(fast), np.asarray(exact))
    np.testing.assert_array_equal(np.asarray(fast), np.asarray(exact))


def test_what_is_made_of_a_picture_has_levels_of_its_own():
    fast, _ = decode(jpeg(photograph(60, 40)), fast=True)
    smaller = fast.resize((30, 20))
    np.testing.assert_array_equal(levels_of(smaller), np.asarray(smaller))


def _others():
    picture = photograph(200, 150)
    plain, progressive = jpeg(picture), jpeg(picture, progressive=True)
    yield "grey", jpeg(picture.convert("L"))
    yield "CMYK", jpeg(picture.convert("CMYK"))
    yield "grey at its end", jpeg(Image.new("RGB", (64, 64), (127, 127, 127)))
    yield "extraneous bytes", plain[:-2] + b"\x00\x01\x02" + plain[-2:]
    for name, data in (("plain", plain), ("progressive", progressive)):
        for part in (0.3, 0.6, 0.95):
            cut = data[: int(len(data) * part)]
            yield f"{name}, {part} of it", cut
            yield f"{name}, {part} of it with an end", cut + b"\xff\xd9"
        yield f"{name}, without its end", data[:-2]
    for place in range(700, len(plain), 1500):
        yield f"byte {place} is another", plain[:place] + bytes([plain[place] ^ 0x55]) + plain[place + 1 :]
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    yield "PNG", stream.getvalue()
    yield "larger by its header than it is", plain.replace(b"\x00\x96\x00\xc8", b"\x01\x96\x00\xc8", 1)


OTHERS = dict(_others())


@pytest.mark.parametrize("name", OTHERS)
def test_of_what_is_not_plain_or_not_whole_pillow_decides(name):
    def told(**options):
        try:
            image, facts = decode(OTHERS[name], **options)
        except ImageError as error:
            return str(error), error.facts
        return image.convert("RGB").tobytes(), facts

    assert told(fast=True) == told()


def test_the_limit_on_pixels_holds():
    with pytest.raises(ImageError, match="over the limit of 1000 pixels"):
        decode(jpeg(photograph(100, 50)), max_pixels=1000, fast=True)
