"""The fuzz targets on inputs that once failed, or that each hold something odd: what they found stays found."""

import importlib.util
import io
import os
import pathlib
import platform
import random
import struct
import sys

import pytest
from PIL import Image

from tests.patience import little_computing

ROOT = pathlib.Path(__file__).resolve().parents[1]
CORPUS = ROOT / "tests" / "fuzz_corpus"


def target(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "fuzz" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fuzz_tar, fuzz_images, mutate_images = target("fuzz_tar"), target("fuzz_images"), target("mutate_images")


def files(folder):
    found = sorted((CORPUS / folder).iterdir())
    assert found
    return [pytest.param(path, id=path.name) for path in found]


def check_soon(check, data):
    with little_computing():  # what once failed took hours
        check(data)


@pytest.mark.slow
@pytest.mark.parametrize("path", files("tar"))
def test_a_shard_that_once_failed_gives_samples_and_reasons(path):
    check_soon(fuzz_tar.check_shard, path.read_bytes())


@pytest.mark.parametrize("path", files("images"))
def test_an_image_that_once_failed_gives_pixels_or_a_reason_and_the_same_ones_every_time(path):
    check_soon(fuzz_images.check_image, path.read_bytes())


def test_the_fuzzers_begin_with_tars_and_images_that_are_good():
    for data in fuzz_tar.seeds():
        fuzz_tar.check_shard(data)
    for data in fuzz_images.seeds():
        fuzz_images.check_image(data)
        assert len(fuzz_images.outcome(data)) == 2 or fuzz_images.outcome(data) == ("TIFF with fax compression",)


@pytest.mark.slow
def test_mutants_of_every_format_give_the_same_in_any_memory_and_nothing_on_stderr(tmp_path):
    tally, choose, seeds = mutate_images.Tally(tmp_path), random.Random(0), fuzz_images.seeds()
    for number in range(8 * len(seeds)):
        tally.check(mutate_images.mutant(seeds[number % len(seeds)], choose), str(number))
    assert not list(tmp_path.iterdir())
    assert min(tally.counts["failed: truncated image"], tally.counts["failed: damaged image"]) > 0


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc fills memory")
def test_dirty_memory_shows_what_depends_on_it(tmp_path):
    # A JPEG of 64 rows in a strip of 256: libtiff leaves the rest as it was. Pillow alone gives other pixels each time.
    whole = fuzz_images.encoded(Image.new("L", (64, 64), 200), "TIFF", {"compression": "jpeg"})
    data = bytearray(whole)
    (directory,) = struct.unpack_from("<I", data, 4)
    for place in range(directory + 2, directory + 2 + 12 * struct.unpack_from("<H", data, directory)[0], 12):
        if struct.unpack_from("<H", data, place)[0] in (257, 278):
            struct.pack_into("<HII", data, place + 2, 4, 1, 256)
    pixels = []
    for junk in fuzz_images.JUNK:
        with fuzz_images.dirty_memory(junk):
            pixels.append(Image.open(io.BytesIO(data)).tobytes())
    assert pixels[0] != pixels[1]
    assert fuzz_images.checked_outcome(bytes(data)) == ("truncated image",)
    tally = mutate_images.Tally(tmp_path)
    tally.check(whole, "whole")
    assert tally.counts == {"decoded tiff": 1}


def test_a_difference_or_words_on_stderr_are_told_and_kept(tmp_path, monkeypatch):
    tally, outcomes = mutate_images.Tally(tmp_path), iter([("a",), ("b",), ("a",), ("a",)])
    monkeypatch.setattr(fuzz_images_of_mutants := mutate_images.fuzz_images, "outcome", lambda _data: next(outcomes))
    tally.check(b"x", "one")
    monkeypatch.setattr(fuzz_images_of_mutants, "outcome", lambda _data: (str(os.write(2, b"noise")),))
    tally.check(b"y", "two")
    assert tally.counts == {"DIFFERS": 1, "SPEAKS": 1}
    assert len(list(tmp_path.iterdir())) == 2


def test_the_fuzzer_is_not_needed_to_import_its_targets():
    assert "atheris" not in sys.modules
