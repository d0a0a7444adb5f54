"""PNGs whose texts or colour profile Pillow refuses: their pictures are what they are without."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from beam_curator.images import decode
from beam_curator.images.png_chunks import without_text
from tests.images.image_files import encoded, model_input, open_clip_levels, picture, reason

PLAIN = encoded(picture(), "PNG")
LARGE = zlib.compress(bytes(3 << 20))


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunks(*chunks, before=b"IDAT", data=PLAIN):
    place = data.index(before) - 4
    return data[:place] + b"".join(chunks) + data[place:]


TEXTS = {
    "iCCP": chunk(b"iCCP", b"profile\0\0" + LARGE),
    "iCCP that is damaged": chunk(b"iCCP", b"profile\0\0" + LARGE[:40]),
    "iCCP, unknown compression": chunk(b"iCCP", b"profile\0\7" + LARGE),
    "zTXt": chunk(b"zTXt", b"text\0\0" + LARGE),
    "iTXt": chunk(b"iTXt", b"text\0\1\0\0\0" + LARGE),
    "tEXt": chunk(b"tEXt", b"text\0" + b"x" * (1 << 20)) * 66,
}


@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
@pytest.mark.parametrize("name", TEXTS)
def test_a_picture_is_read_in_spite_of_its_texts(name, before):
    data = with_chunks(TEXTS[name], before=before)
    np.testing.assert_array_equal(model_input(data), model_input(PLAIN))
    assert decode(data)[1].bytes == len(data)


def test_orientation_is_kept_when_texts_are_left_out():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    data = with_chunks(TEXTS["zTXt"], data=encoded(picture(), "PNG", exif=exif))
    assert decode(data)[0].size == (240, 320)
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    data = with_chunks(TEXTS["zTXt"], chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))
    upright = ImageOps.exif_transpose(
        Image.open(io.BytesIO(with_chunks(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))))
    )
    assert decode(data)[0].size == upright.size == (240, 320)


def test_a_png_that_is_damaged_besides_fails_with_its_own_reason():
    data = with_chunks(TEXTS["zTXt"])
    assert reason(data[: len(data) - len(PLAIN) // 2]) == "truncated image"


def test_only_texts_and_profiles_are_left_out():
    assert without_text(with_chunks(*TEXTS.values())) == PLAIN
    assert without_text(PLAIN) is None
    assert without_text(encoded(picture(), "JPEG")) is None
    assert without_text(PLAIN[:60]) is None


@pytest.mark.parametrize("transparency", [b"", chunk(b"tRNS", bytes([255, 0, 255]))])
def test_a_palette_png_without_its_palette_is_what_open_clip_sees(transparency):
    rows = b"".join(b"\0" + bytes(3 + (x * y) % 200 for x in range(64)) for y in range(64))
    header = struct.pack(">IIBBBBB", 64, 64, 8, 3, 0, 0, 0)
    parts = chunk(b"IHDR", header) + transparency + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    data = b"\x89PNG\r\n\x1a\n" + parts
    expected = open_clip_levels(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(model_input(data), expected)
