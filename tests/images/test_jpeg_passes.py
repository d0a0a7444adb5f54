"""A progressive JPEG that ends between its passes is truncated; a whole one is whole, whoever wrote it."""

import io

import pytest
from PIL import Image

from beam_curator.images import decode
from beam_curator.images.jpeg_markers import SCAN, markers
from beam_curator.images.jpeg_passes import lacks_passes
from tests.images.image_files import encoded, picture, reason

END = b"\xff\xd9"
DEFINES_CODES = 0xC4


def progressive(mode="RGB", **options):
    return encoded(picture(mode), "JPEG", progressive=True, **options)


def cut_between_passes(data):
    """The same file with its first scan, its first two scans, and so on, each with an end."""
    found = list(markers(data))
    for index, (marker, at) in enumerate(found):
        later = SCAN in [one for one, _ in found[:index]]
        if later and marker in (SCAN, DEFINES_CODES) and found[index - 1][0] != DEFINES_CODES:
            yield data[:at] + END


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("quality", [1, 30, 75, 95, 100])
@pytest.mark.parametrize("optimize", [False, True])
def test_whole_progressive_pictures_are_whole(mode, quality, optimize):
    data = progressive(mode, quality=quality, optimize=optimize)
    assert not lacks_passes(data)
    assert decode(data)[0].size == (320, 240)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("level", [0, 127, 128, 255])
def test_flat_progressive_pictures_are_whole(mode, level):
    flat = Image.new("L", (64, 48), level).convert(mode)
    assert decode(encoded(flat, "JPEG", progressive=True))[0].size == (64, 48)


@pytest.mark.parametrize("options", [{"subsampling": 0}, {"subsampling": 2}, {"restart_marker_blocks": 3}])
def test_every_file_that_ends_between_its_passes_is_truncated(options):
    for mode in ("L", "RGB", "CMYK"):
        cut = list(cut_between_passes(progressive(mode, **options)))
        assert len(cut) >= 5
        for data in cut:
            assert Image.open(io.BytesIO(data)).convert("RGB").size == (320, 240)  # decoders say nothing of it
            assert reason(data) == "truncated image"


def test_what_follows_the_picture_and_what_stands_in_its_segments_is_no_pass_of_it():
    whole, early = progressive(), next(cut_between_passes(progressive()))
    assert not lacks_passes(whole + early)
    assert lacks_passes(early + whole)
    preview = encoded(picture(width=32, height=24), "JPEG")
    exif = b"Exif\0\0" + preview
    with_preview = whole[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + whole[2:]
    assert not lacks_passes(with_preview)


def test_plain_pictures_have_no_passes():
    assert not lacks_passes(encoded(picture(), "JPEG"))
    assert not lacks_passes(b"\xff\xd8\xff\xc2")


def test_a_scan_of_no_component_sends_nothing():
    frame = b"\xff\xc2\0\x0b\x08\0\1\0\1\1\1\x11\0"
    assert lacks_passes(b"\xff\xd8" + frame + b"\xff\xda\0\2\xff\xd9")
