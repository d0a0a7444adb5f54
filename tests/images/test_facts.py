"""What is told of an image, and formats that are found by content."""

import hashlib
import io
import struct

import numpy as np
import pytest
from PIL import Image

from beam_curator.images import IMAGE_EXTENSIONS, Preparation, decode, perceptual_hash, preprocess
from tests.images.image_files import SAME_AS_OPEN_CLIP, SIZE, encoded, picture, reason, with_orientation


def test_facts_are_those_of_the_file():
    data = encoded(picture(), "JPEG")
    _, facts = decode(data)
    assert (facts.width, facts.height, facts.format, facts.bytes) == (320, 240, "jpeg", len(data))
    assert facts.sha256 == hashlib.sha256(data).hexdigest()
    assert facts.phash == perceptual_hash(Image.open(io.BytesIO(data)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "drafted"), [((1000, 700), (500, 350)), ((1800, 1800), (225, 225)), ((400, 300), (400, 300))]
)
def test_a_jpeg_decoded_at_draft_scale_is_smaller_and_its_facts_are_those_of_the_whole(size, drafted):
    data = encoded(picture(width=size[0], height=size[1]), "JPEG")
    image, facts = decode(data, draft_side=SIZE)
    whole, expected = decode(data)
    assert image.size == drafted
    assert (facts.width, facts.height, facts.sha256) == (*size, expected.sha256)
    difference = np.abs(preprocess(image, Preparation(SIZE)).astype(int) - preprocess(whole, Preparation(SIZE)))
    assert difference.mean() < 2


def test_a_turned_jpeg_decoded_at_draft_scale_has_its_upright_size():
    data = with_orientation(picture(width=1000, height=700), 6)
    image, facts = decode(data, draft_side=SIZE)
    assert image.size == (350, 500)
    assert (facts.width, facts.height) == (700, 1000)


def test_draft_scale_is_for_jpegs_alone():
    data = encoded(picture(width=1000, height=700), "PNG")
    assert decode(data, draft_side=SIZE)[1] == decode(data)[1]


def test_bytes_may_be_any_buffer():
    data = encoded(picture(), "PNG")
    assert decode(memoryview(data))[1] == decode(bytearray(data))[1] == decode(data)[1]


def test_format_is_found_by_content():
    formats = {name.split(",")[0] for name in SAME_AS_OPEN_CLIP}
    assert {decode(data)[1].format for data in SAME_AS_OPEN_CLIP.values()} == formats
    assert {"jpg", "jpeg", "png", "webp", "gif", "tif", "tiff", "bmp"} <= IMAGE_EXTENSIONS
    assert all(extension == extension.lower().strip(".") for extension in IMAGE_EXTENSIONS)


def test_a_jpeg_with_more_pictures_inside_is_read_as_its_first():
    data = encoded(picture(), "MPO", save_all=True, append_images=[picture(seed=1)])
    image, facts = decode(data)
    assert facts.format == "mpo"
    np.testing.assert_array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(data))))


def test_an_icon_is_read_and_a_large_picture_inside_it_is_found_out():
    small = encoded(picture(width=64, height=64), "ICO", sizes=[(64, 64)])
    assert decode(small)[1].format == "ico"
    large = encoded(picture(width=900, height=900), "PNG")
    icon = struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(large), 22) + large
    assert reason(icon, max_pixels=10_000) == "image of 900x900 pixels is over the limit of 10000 pixels"
