"""Transparency, and levels of more than eight bits."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from beam_curator.images import Preparation, decode, preprocess
from tests.images.image_files import (
    SIZE,
    encoded,
    grey16,
    model_input,
    open_clip_levels,
    picture,
    reason,
    scene,
    with_alpha,
)
from tests.images.tiff_files import tiff


def over_white(image: Image.Image) -> Image.Image:
    """The definition, in float arithmetic."""
    rgba = np.asarray(image.convert("RGBA")).astype(float)
    alpha = rgba[..., 3:] / 255
    return Image.fromarray(np.rint(rgba[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8))


TRANSPARENT = {
    "rgba png": encoded(with_alpha(), "PNG"),
    "grey and alpha png": encoded(with_alpha("LA"), "PNG"),
    "rgba webp": encoded(with_alpha(), "WEBP", lossless=True),
    "rgba tiff": encoded(with_alpha(), "TIFF"),
    "palette png, one transparent colour": encoded(picture().quantize(16), "PNG", transparency=3),
    "palette png, alpha for each colour": encoded(picture().quantize(16), "PNG", transparency=bytes(range(0, 256, 16))),
    "rgb png, one transparent colour": encoded(picture(), "PNG", transparency=tuple(scene()[7, 9].tolist())),
    "grey png, one transparent level": encoded(picture("L"), "PNG", transparency=128),
    "1-bit png, transparent black": encoded(picture("1"), "PNG", transparency=0),
    "gif": encoded(picture().quantize(16), "GIF", transparency=3),
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_transparency_is_laid_over_white(name):
    # By design unlike open_clip, which shows the hidden colours: compared with its transform of the composite.
    stored = Image.open(io.BytesIO(TRANSPARENT[name]))
    stored.load()
    assert stored.has_transparency_data
    image, _ = decode(TRANSPARENT[name])
    assert image.mode == "RGB"
    difference = np.abs(np.asarray(image).astype(int) - np.asarray(over_white(stored)))
    assert difference.max() <= 1  # integer against float rounding
    np.testing.assert_array_equal(preprocess(image, Preparation(SIZE)), open_clip_levels(image))


def test_a_fully_transparent_image_is_white():
    assert (model_input(encoded(Image.new("RGBA", (50, 40), (9, 8, 7, 0)), "PNG")) == 255).all()


def png16(color_type: int, rows: np.ndarray, **chunks: bytes) -> bytes:
    """A 16-bit PNG, written by hand where Pillow writes none; rows: uint16 [height, width, channels]."""
    height, width, _ = rows.shape
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    parts = [(b"IHDR", header), *((k.encode(), v) for k, v in chunks.items())]
    parts += [(b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


HIGH_BYTE = Image.fromarray((grey16() >> 8).astype(np.uint8))
SIXTEEN_BIT = {
    "png": encoded(Image.fromarray(grey16()), "PNG"),
    "tiff": encoded(Image.fromarray(grey16()), "TIFF"),
    "big-endian tiff": encoded(Image.fromarray(grey16().astype(">u2")), "TIFF"),
    "32-bit tiff": encoded(Image.fromarray(grey16().astype(np.int32)), "TIFF"),
    "pgm": encoded(Image.fromarray(grey16()), "PPM"),
}


@pytest.mark.parametrize("name", SIXTEEN_BIT)
def test_16_bit_grey_is_read_by_its_high_byte_where_open_clip_would_turn_it_white(name):
    data = SIXTEEN_BIT[name]
    image, _ = decode(data)
    np.testing.assert_array_equal(np.asarray(image), np.asarray(HIGH_BYTE))
    np.testing.assert_array_equal(preprocess(image, Preparation(SIZE)), open_clip_levels(HIGH_BYTE))
    assert (open_clip_levels(Image.open(io.BytesIO(data))) == 255).mean() > 0.95


def test_16_bit_grey_and_colour_of_the_same_levels_look_the_same():
    rows = grey16()[..., None]
    np.testing.assert_array_equal(model_input(png16(0, rows)), model_input(png16(2, rows.repeat(3, axis=2))))


def test_the_transparent_level_of_a_16_bit_image_is_compared_in_16_bits():
    rows = np.full((8, 8, 1), 0x1234, np.uint16)
    rows[0] = 0x1235
    pixels = np.asarray(decode(png16(0, rows, tRNS=struct.pack(">H", 0x1234)))[0])
    assert (pixels[0] == 0x12).all()
    assert (pixels[1:] == 255).all()


def test_the_transparent_colour_of_a_16_bit_rgb_image_is_found():
    rows = np.full((8, 8, 3), 0x1234, np.uint16)
    rows[0] = 0x5678
    pixels = np.asarray(decode(png16(2, rows, tRNS=struct.pack(">HHH", 0x1234, 0x1234, 0x1234)))[0])
    assert (pixels[0] == 0x56).all()
    assert (pixels[1:] == 255).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, 99.6, 255.0]], np.float32), [0, 100, 255]),
        (np.array([[-1000.0, 0.0, 1000.0]], np.float32), [0, 128, 255]),
        (np.array([[np.nan, np.inf, 1.0]], np.float32), [255, 255, 255]),
        (np.array([[np.nan, np.nan, -np.inf]], np.float32), [0, 0, 0]),
        (np.array([[-5.0, -5.0, -5.0]], np.float32), [0, 0, 0]),
        (np.array([[-1e-45, 0.0, 0.0]], np.float32), [0, 255, 255]),
        (np.array([[-3e38, 0.0, 3e38]], np.float32), [0, 128, 255]),
        (np.array([[0, 7, 255]], np.int32), [0, 7, 255]),
        (np.array([[0, 256, 65535]], np.int32), [0, 1, 255]),
        (np.array([[-(2**31), 0, 2**31 - 1]], np.int32), [0, 128, 255]),
        (np.array([[70000, 70000, 70000]], np.int32), [0, 0, 0]),
    ],
)
def test_32_bit_levels_are_scaled_by_their_range(values, expected):
    image, _ = decode(encoded(Image.fromarray(values), "TIFF"))
    assert image.mode == "L"
    assert np.asarray(image).ravel().tolist() == expected


def packed_12_bit(values):
    """Levels [height, width] of 12 bits, two in three bytes."""
    bits = np.unpackbits(values.astype(">u2").view(np.uint8).reshape(*values.shape, 2), axis=2)[..., 4:]
    return np.packbits(bits.reshape(len(values), -1), axis=1).tobytes()


TWELVE_BITS = np.arange(64 * 48).reshape(48, 64) * 4095 // (64 * 48 - 1)


def test_12_bit_grey_of_a_tiff_is_read_by_its_highest_eight_bits():
    image, _ = decode(tiff(64, 48, packed_12_bit(TWELVE_BITS), t258=12))
    np.testing.assert_array_equal(np.asarray(image), TWELVE_BITS >> 4)


@pytest.mark.parametrize(("order", "kind"), [("<", "<u2"), (">", ">u2")])
@pytest.mark.parametrize("bits", [9, 10, 12, 14, 16])
def test_levels_in_16_bits_take_as_many_as_a_tiff_says(bits, order, kind):
    levels = np.arange(64 * 48).reshape(48, 64) % (1 << bits)
    levels[0, 0] = (1 << bits) - 1
    data = tiff(64, 48, levels.astype(kind).tobytes(), order=order, t258=(16,), t281=((1 << bits) - 1,))
    np.testing.assert_array_equal(np.asarray(decode(data)[0]), levels >> (bits - 8))


@pytest.mark.parametrize("bits", [10, 14])
def test_bits_that_pillow_does_not_decode_are_no_damage(bits):
    data = tiff(64, 48, bytes(64 * 48 * bits // 8), t258=(bits,))
    assert reason(data) == "image of a kind that Pillow does not decode"


def test_levels_above_the_greatest_that_a_tiff_says_are_not_wrapped():
    levels = np.full((4, 4), 0x1234, np.uint16)
    data = tiff(4, 4, levels.tobytes(), t258=(16,), t281=(1023,))
    assert (np.asarray(decode(data)[0]) == 0x12).all()


def test_where_a_tiff_of_high_bit_depth_says_that_0_is_white_it_is():
    levels = np.arange(16, dtype=np.uint16).reshape(4, 4) << 12
    data = tiff(4, 4, levels.tobytes(), t258=(16,), t262=(0,))
    np.testing.assert_array_equal(np.asarray(decode(data)[0]), 255 - (levels >> 8))
    eight = tiff(4, 4, (levels >> 8).astype(np.uint8).tobytes(), t262=(0,))
    np.testing.assert_array_equal(np.asarray(decode(data)[0]), np.asarray(decode(eight)[0]))
