"""The perceptual hash: its formula, and what it tells apart."""

import io

import numpy as np
import pytest
from PIL import Image

from beam_curator.images import hash_of_levels, perceptual_hash
from tests.images.image_files import encoded, picture


def test_perceptual_hash_is_the_formula():
    image = picture(width=180, height=150)  # larger ones are reduced first
    grey = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS)).astype(float)
    f = np.zeros((8, 8))
    for u in range(8):
        for v in range(8):
            y, x = np.mgrid[0:32, 0:32]
            f[u, v] = (grey * np.cos(np.pi * u * (2 * y + 1) / 64) * np.cos(np.pi * v * (2 * x + 1) / 64)).sum()
    bits = "".join("1" if value > np.median(f) else "0" for value in f.ravel())
    assert perceptual_hash(image) == f"{int(bits, 2):016x}"


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize(("width", "height"), [(500, 375), (375, 500), (1601, 97), (191, 960)])
def test_reducing_large_pictures_first_leaves_nearly_all_bits(width, height, mode):
    image = picture(mode, width=width, height=height)
    whole = hash_of_levels(np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS)))
    assert (int(perceptual_hash(image), 16) ^ int(whole, 16)).bit_count() <= 4


def test_perceptual_hash_of_this_scene_never_changes():
    assert perceptual_hash(picture()) == "d8c639b9c6c6a139"


def test_perceptual_hash_of_one_flat_colour_has_no_noise_in_it():
    hashes = {perceptual_hash(Image.new("RGB", (w, 77), (w, 40, 200))) for w in range(1, 250, 7)}
    assert hashes == {"8000000000000000"}


def test_perceptual_hash_is_near_for_copies_and_far_for_others():
    def distance(a: Image.Image, b: Image.Image) -> int:
        return bin(int(perceptual_hash(a), 16) ^ int(perceptual_hash(b), 16)).count("1")

    image = picture(width=640, height=480)
    copy = Image.open(io.BytesIO(encoded(image.resize((200, 150)), "JPEG", quality=50)))
    assert distance(image, copy) <= 6
    assert distance(image, image.convert("L")) == 0
    assert distance(image, image.transpose(Image.Transpose.ROTATE_90)) >= 20
    assert distance(image, Image.linear_gradient("L")) >= 20
