"""The perceptual hash: its formula, and what it tells apart."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from beam_curator.images import (
    PictureHashes,
    decode,
    fine_hash_of_levels,
    hash_of_levels,
    perceptual_hash,
    picture_hashes,
    texture_of_levels,
)
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


def bits_between(a: str, b: str) -> int:
    return (int(a, 16) ^ int(b, 16)).bit_count()


def test_the_fine_hash_is_the_formula():
    grey = np.random.default_rng(5).integers(0, 256, (64, 64), dtype=np.uint8)
    y, x = np.mgrid[0:64, 0:64]
    f = np.zeros((16, 16))
    for u in range(1, 17):
        for v in range(1, 17):
            waves = np.cos(np.pi * u * (2 * y + 1) / 128) * np.cos(np.pi * v * (2 * x + 1) / 128)
            f[u - 1, v - 1] = (grey * waves).sum()
    bits = "".join("1" if value > np.median(f) else "0" for value in f.ravel())
    assert fine_hash_of_levels(grey) == f"{int(bits, 2):064x}"


@pytest.mark.parametrize(
    ("seed", "size", "texture", "phash256", "cropped", "clipped"),
    [
        (
            *(0, (320, 240), 108),
            "8c8d737273728c8c8c8c6726737373f18f8c8e8e6662999c999c626372739c9c",
            "8c8f727073708d8d8c8f8e67717073708f8c8e8e6777998e999c637072728c8d",
            "8d9f61f361f38d9e8c9e09f961f361f08d9c8d9c41b90dcc8cdc636073718c8c",
        ),
        (
            *(1, (97, 640), 195),
            "9c8c637373739d8c8c8c8e1f637373609c9c8d8e8e0f71a270f37272e6728c8c",
            "8d8c727272729d8d8d8d8e0f727272709c9c8d8f8e0f78827071727366668f8f",
            "9d8c737363733b9d1d8c9c8d7373736273f38d8c1c8cc022737362738c8c8c8c",
        ),
        (
            *(2, (40, 30), 90),
            "9d0e73f372f09c9d8c8cf60e6263626f8d988dd94bf0a109b929666066dd8e99",
            "9d0e737272f28c9d8c8dfe0e6262626f8d988dd94bf4a909b929676166d18c99",
            "0d0e71fa70fa0a9d8e1e9c067226626f8df88df08fd1a921fd29646947d99a99",
        ),
    ],
)
def test_the_hashes_of_these_scenes_never_change(seed, size, texture, phash256, cropped, clipped):
    image = picture(seed=seed, width=size[0], height=size[1])
    found = picture_hashes(image)
    assert (found.phash256, found.texture) == (phash256, texture)
    assert (found.phash256_cropped, found.phash256_clipped) == (cropped, clipped)
    assert found.phash == perceptual_hash(image)


def test_facts_are_the_same_whatever_way_the_pixels_came():
    grey = picture("L", width=500, height=375)
    ways = [encoded(grey, "PNG"), encoded(grey.convert("RGB"), "BMP"), encoded(grey, "TIFF"), encoded(grey, "GIF")]
    ways.append(encoded(grey.convert("RGBA"), "WEBP", lossless=True))
    names = [field.name for field in dataclasses.fields(PictureHashes)]
    found = {tuple(getattr(facts, name) for name in names) for facts in (decode(data)[1] for data in ways)}
    hashes = picture_hashes(grey)
    assert found == {tuple(getattr(hashes, name) for name in names)}


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_flat_picture_has_no_fine_bit_and_no_texture(mode):
    for size in ((1, 1), (64, 64), (1000, 3)):
        found = picture_hashes(Image.new("RGB", size, (200, 17, 90)).convert(mode))
        assert (found.phash, found.phash256, found.texture) == ("8" + "0" * 15, "0" * 64, 0)
        assert found.colours == ("c8115a" if mode == "RGB" else "505050") * 16


def test_the_cropped_hash_is_that_of_a_slightly_cropped_copy():
    for seed, (width, height) in enumerate([(640, 480), (500, 700), (100, 100)]):
        image = patches(seed).resize((width, height))
        x, y = width // 100, height // 100
        copy = picture_hashes(image.crop((x, y, width - x, height - y)))
        found = picture_hashes(image)
        assert bits_between(found.phash256_cropped, copy.phash256) <= 4 < bits_between(found.phash256, copy.phash256)


def test_the_clipped_hash_is_that_of_a_copy_whose_lights_are_clipped():
    image = patches(0).convert("L").point([min(255, 20 + level) for level in range(256)])
    found, copy = picture_hashes(image), picture_hashes(ImageEnhance.Brightness(image).enhance(1.3))
    assert bits_between(found.phash256_clipped, copy.phash256) <= 4 < bits_between(found.phash256, copy.phash256)
    grey = np.asarray(image.resize((64, 64)))
    small = picture_hashes(Image.fromarray(grey))
    assert small.phash256_clipped == fine_hash_of_levels(np.minimum(grey, 196))
    dark = picture_hashes(image.point([level * 150 // 255 for level in range(256)]))
    assert dark.phash256_clipped is None


def test_colours_are_the_means_of_sixteen_parts_row_by_row():
    levels = np.random.default_rng(6).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    image = Image.fromarray(levels)
    assert picture_hashes(image.resize((80, 40), Image.Resampling.NEAREST)).colours == levels.tobytes().hex()
    far = np.frombuffer(bytes.fromhex(picture_hashes(image.resize((900, 700), 0)).colours), np.uint8)
    assert np.abs(far.astype(int) - levels.ravel()).max() <= 1


def test_texture_counts_steps_between_neighbours_in_hundredths():
    grey = np.zeros((64, 64), np.uint8)
    grey[:, 32:] = 255
    assert texture_of_levels(grey) == 64 * 100 // 90
    assert texture_of_levels(np.full((64, 64), 9, np.uint8) + (np.indices((64, 64)).sum(axis=0) % 2 * 2)) == 0


def patches(seed: int) -> Image.Image:
    """Something with many frequencies: uint8 [480, 640, 3] of smooth patches."""
    levels = np.random.default_rng(seed).integers(0, 256, (15, 20, 3), dtype=np.uint8)
    return Image.fromarray(levels).resize((640, 480), Image.Resampling.BICUBIC)


def test_the_fine_hash_is_near_for_copies_and_far_for_others():
    image = patches(0)
    found = picture_hashes(image)
    for copy in (
        Image.open(io.BytesIO(encoded(image, "JPEG", quality=30))),
        image.resize((320, 240)),
        image.resize((224, 224)),
        image.convert("L"),
    ):
        assert bits_between(found.phash256, picture_hashes(copy).phash256) <= 16
    for other in (patches(1), image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)):
        assert bits_between(found.phash256, picture_hashes(other).phash256) >= 90
