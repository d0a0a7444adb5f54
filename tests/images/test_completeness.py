"""A decoder that ends early: its picture is truncated, whatever memory it was given."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from beam_curator.images import completeness, decode
from tests.images.image_files import SAME_AS_OPEN_CLIP, encoded, picture, reason
from tests.images.tiff_files import patched, tiff

COMPRESSIONS = ["raw", "tiff_lzw", "tiff_deflate", "packbits", "jpeg", "zstd", "lzma"]


def square(side=64, mode="RGB"):
    return picture(mode, side, side)


def tiff_of(compression):
    return encoded(square(), "TIFF", compression=compression)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_tiff_that_claims_more_rows_than_it_has_is_truncated(compression):
    data = tiff_of(compression)
    assert decode(data)[0].size == (64, 64)
    assert reason(patched(data, ImageLength=128)).split(":")[0] == "truncated image"
    assert reason(patched(data, ImageLength=256, RowsPerStrip=256)).split(":")[0] == "truncated image"


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_tiff_whose_strip_is_cut_in_half_is_truncated(compression):
    data = tiff_of(compression)
    (size,) = Image.open(io.BytesIO(data)).tag_v2[279]
    assert reason(patched(data, StripByteCounts=size // 2)).split(":")[0] == "truncated image"


def test_a_tiff_whose_jpeg_is_narrower_than_its_strip_is_truncated():
    assert reason(patched(tiff_of("jpeg"), ImageWidth=80)) == "truncated image"


@pytest.mark.parametrize(("rows", "rows_per_strip"), [(256, 256), (128, 64), (65, 65)])
def test_a_tiff_with_old_style_jpeg_that_is_smaller_is_truncated(rows, rows_per_strip):
    jpeg = encoded(square(), "JPEG", subsampling=0)

    def old_jpeg(height, strip):
        tags = {"t258": (8, 8, 8), "t259": 6, "t262": 6, "t277": 3, "t278": strip, "t513": None, "t514": len(jpeg)}
        return tiff(64, height, jpeg, **tags)

    assert decode(old_jpeg(64, 64))[0].size == (64, 64)
    assert reason(old_jpeg(rows, rows_per_strip)) == "truncated image"


def test_a_tile_whose_jpeg_is_smaller_is_truncated():
    jpeg = encoded(square(mode="L"), "JPEG")
    whole = tiff(64, 64, jpeg, t259=7, t322=64, t323=64)
    assert decode(whole)[0].size == (64, 64)
    assert reason(patched(whole, TileLength=128, ImageLength=128)) == "truncated image"
    assert reason(patched(whole, TileWidth=128, ImageWidth=100)) == "truncated image"


def test_plain_subsampled_colours_are_refused_as_pillow_reads_other_bytes_for_them():
    assert reason(tiff(4, 4, bytes(24), t258=(8, 8, 8), t262=6, t277=3, t530=(2, 2))) == (
        "TIFF with subsampled colours without compression"
    )


def png(width, height, color, rows, interlaced=0):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8 if color else 1, color, 0, 0, interlaced)
    palette = chunk(b"PLTE", bytes(range(256)) * 3) if color == 3 else b""
    parts = (chunk(b"IHDR", header), palette, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(("color", "row_bytes"), [(0, 8), (2, 192), (3, 64), (4, 128), (6, 256)])
@pytest.mark.parametrize("level", [0, 91, 167, 251, 255])
def test_a_png_whose_data_ends_early_is_truncated_and_one_of_any_flat_colour_is_not(color, row_bytes, level):
    rows = [b"\0" + bytes([level]) * row_bytes] * 64
    assert decode(png(64, 64, color, b"".join(rows)))[0].size == (64, 64)
    for kept in (1, 30, 63):
        assert reason(png(64, 64, color, b"".join(rows[:kept]))) == "truncated image"


def test_an_interlaced_png_that_lacks_its_last_pass_is_truncated():
    passes = [(8, 8), (8, 8), (16, 8), (16, 16), (32, 16), (32, 32), (64, 32)]
    rows = [b"".join(b"\0" + bytes([9]) * width * 3 for _ in range(height)) for width, height in passes]
    assert decode(png(64, 64, 2, b"".join(rows), interlaced=1))[0].size == (64, 64)
    assert reason(png(64, 64, 2, b"".join(rows[:-1]), interlaced=1)) == "truncated image"


def test_a_jpeg_2000_that_lacks_a_tile_is_truncated():
    data = encoded(square(128), "JPEG2000", tile_size=(32, 32), no_jp2=True)
    starts = []
    place = data.find(b"\xff\x90")
    while data[place : place + 2] == b"\xff\x90":
        starts.append(place)
        place += struct.unpack_from(">I", data, place + 6)[0]
    starts.append(place)
    assert len(starts) == 17
    assert decode(data)[0].size == (128, 128)
    for tile in (0, 5, 15):
        assert reason(data[: starts[tile]] + data[starts[tile + 1] :]) == "truncated image"


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_was_cut_and_closed_again_is_truncated(progressive):
    data = encoded(picture(), "JPEG", progressive=progressive, quality=95)
    scan = data.index(b"\xff\xda")
    for cut in (scan + 40, *([] if progressive else [len(data) // 2, len(data) * 9 // 10])):
        assert reason(data[:cut].rstrip(b"\xff") + b"\xff\xd9") == "truncated image"


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_that_is_really_grey_where_it_ends_is_whole(mode, progressive, monkeypatch):
    grey = Image.new(mode, (100, 70), {"RGB": (128, 128, 128), "L": 128, "CMYK": (127, 127, 127, 127)}[mode])
    asked = []
    really = completeness._changes_with_what_follows
    monkeypatch.setattr(
        completeness, "_changes_with_what_follows", lambda *given: asked.append(really(*given)) or asked[-1]
    )
    data = encoded(grey, "JPEG", progressive=progressive, exif=b"Exif\0\0" + encoded(picture(), "JPEG")[:5000])
    assert decode(data)[0].size == (100, 70)
    assert asked == [False]


def test_a_gif_smaller_than_its_canvas_is_whole_and_one_that_ends_early_is_not():
    data = encoded(picture("P", 60, 40), "GIF")
    canvas = data[:6] + struct.pack("<HH", 90, 80) + data[10:]
    assert decode(canvas)[0].size == (90, 80)
    block = data.rindex(b"\x00\x3b")  # after the last block of data
    start = data.rindex(b"\x2c", 0, 900)
    first = start + 11  # the code's size, then blocks of (size, data)
    half = data[first : first + 1 + 100]
    assert block > first + 101
    assert reason(data[:first] + bytes([100]) + half[1:] + b"\x00\x3b") == "truncated image"


@pytest.mark.slow
@pytest.mark.parametrize("name", SAME_AS_OPEN_CLIP)
def test_whole_pictures_are_decoded_over_either_mark_alike(name, monkeypatch):
    image, facts = decode(SAME_AS_OPEN_CLIP[name])
    monkeypatch.setattr(completeness, "_marks_of", lambda mode: (_swapped(mode), 1))
    other, other_facts = decode(SAME_AS_OPEN_CLIP[name])
    np.testing.assert_array_equal(np.asarray(image), np.asarray(other))
    assert facts == other_facts


def _swapped(mode, marks_of=completeness._marks_of):
    return marks_of(mode)[0][::-1]
