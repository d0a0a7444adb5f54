"""What is no usable image: the reason, and nothing else, is raised; limits; many threads."""

import functools
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageFile, PngImagePlugin

from beam_curator.images import ImageError, ImageFacts, Preparation, decode, preprocess
from tests.examples import examples
from tests.images.image_files import (
    SAME_AS_OPEN_CLIP,
    encoded,
    model_input,
    picture,
    reason,
)

REASONS = {"empty image", "truncated image", "damaged image", "not an image that can be decoded"}


def test_an_empty_file_is_named_so():
    assert reason(b"") == "empty image"


@pytest.mark.parametrize("data", [b"x", b"not an image" * 99, bytes(1000), b"<html></html>", b"<svg></svg>"])
def test_other_files_are_not_images(data):
    assert reason(data) == "not an image that can be decoded"


def test_formats_that_would_run_other_programs_are_refused():
    eps = encoded(picture(), "EPS")
    assert reason(eps) == "not an image that can be decoded"
    assert reason(b"%PDF-1.4\n" + eps) == "not an image that can be decoded"


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


@pytest.mark.filterwarnings("error")
def test_the_pixel_limit_is_checked_on_the_header_and_told_in_full():
    bomb = png_header(30000, 30000) + struct.pack(">I", 9) + b"IDAT" + bytes(13)
    assert reason(bomb) == "image of 30000x30000 pixels is over the limit of 178956970 pixels"
    # Between Pillow's warning and its error, and above its error: the limit is ours alone.
    assert reason(png_header(10000, 10000)[:-4] + bytes(4)) in REASONS
    assert reason(encoded(picture(), "PNG"), max_pixels=76_799) == (
        "image of 320x240 pixels is over the limit of 76799 pixels"
    )
    assert decode(encoded(picture(), "PNG"), max_pixels=76_800)[1].width == 320
    assert reason(png_header(0, 5) + bytes(20)) in {*REASONS, "image without pixels"}


@pytest.mark.filterwarnings("error")
def test_a_limit_above_pillows_own_is_kept_without_a_warning(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert decode(encoded(picture(), "PNG"))[1].width == 320


@pytest.mark.parametrize("name", ["jpeg", "jpeg, progressive", "png", "webp", "gif", "tiff", "bmp", "ppm", "tga"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Truncated File Read")
def test_a_truncated_image_is_an_error_and_never_padded(name):
    data = SAME_AS_OPEN_CLIP[name]
    # The last bytes of some formats are markers, metadata or padding: all pixels may be there without them.
    for cut in [*range(1, 60), *np.linspace(60, len(data) * 0.98, 60).astype(int)]:
        assert reason(data[:cut]) in REASONS, cut
    assert reason(data[: len(data) // 2]) == "truncated image" or name == "webp"


def test_what_is_known_of_a_failed_image_is_its_size_and_sha256():
    with pytest.raises(ImageError) as caught:
        decode(b"abc")
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of FIPS 180-2
    assert caught.value.facts == ImageFacts(bytes=3, sha256=sha256)


def test_pillows_global_settings_stay_as_they_are():
    def settings_now() -> tuple[object, ...]:
        return (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, PngImagePlugin.MAX_TEXT_CHUNK)

    before = settings_now()
    for data in [*SAME_AS_OPEN_CLIP.values(), png_header(30000, 30000), b""]:
        try:
            model_input(data)
        except ImageError:
            continue
    assert settings_now() == before == (89_478_485, False, 1_048_576)


@pytest.mark.slow
def test_many_threads_decode_as_one_does():
    files = list(SAME_AS_OPEN_CLIP.values()) * 2
    with ThreadPoolExecutor(8) as pool:
        for got, data in zip(pool.map(model_input, files), files, strict=True):
            np.testing.assert_array_equal(got, model_input(data))


def pixels_or_reason(data: bytes) -> np.ndarray | str:
    try:
        return preprocess(decode(data, max_pixels=1_000_000)[0], Preparation(32))
    except ImageError as error:
        return str(error)


@functools.cache
def small_files() -> list[bytes]:
    image = picture(width=40, height=30)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return [
        encoded(image, "JPEG", exif=exif),
        encoded(image, "JPEG", progressive=True),
        encoded(image, "PNG"),
        encoded(image.quantize(16), "PNG", transparency=b"\x00\x80"),
        encoded(image, "WEBP"),
        encoded(image.quantize(16), "GIF", save_all=True, append_images=[image.quantize(8)]),
        encoded(image, "TIFF", compression="tiff_lzw"),
        encoded(image, "TIFF", compression="jpeg"),
        encoded(image, "BMP"),
        encoded(image, "ICO", sizes=[(32, 32)]),
        encoded(image, "TGA"),
        encoded(image, "JPEG2000"),
    ]


@examples(400)
@given(
    index=st.integers(0, 11),
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=6)), max_size=6),
    keep=st.one_of(st.just(1.0), st.floats(0, 1)),
)
@example(index=0, edits=[], keep=1.0)
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_either_decode_or_give_an_image_error(index, edits, keep):
    data = bytearray(small_files()[index])
    for place, patch in edits:
        start = int(place * len(data))
        data[start : start + len(patch)] = patch
    outcome = pixels_or_reason(bytes(data[: int(keep * len(data))]))
    assert outcome if isinstance(outcome, str) else outcome.shape == (32, 32, 3)


@examples(100)
@given(st.binary(max_size=300), st.sampled_from(small_files()))
@pytest.mark.filterwarnings("ignore")
def test_garbage_behind_any_magic_number_gives_an_image_or_an_image_error(garbage, file):
    for data in (garbage, file[:12] + garbage):
        outcome = pixels_or_reason(data)
        assert outcome if isinstance(outcome, str) else outcome.shape == (32, 32, 3)
