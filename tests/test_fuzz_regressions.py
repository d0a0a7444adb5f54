"""The fuzz targets on inputs that once failed, or that each hold something odd: what they found stays found."""

import importlib.util
import pathlib
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
CORPUS = ROOT / "tests" / "fuzz_corpus"
TIME_LIMIT_SECONDS = 20  # they take milliseconds; what once failed took hours


def target(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "fuzz" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fuzz_tar, fuzz_images = target("fuzz_tar"), target("fuzz_images")


def files(folder):
    found = sorted((CORPUS / folder).iterdir())
    assert found
    return [pytest.param(path, id=path.name) for path in found]


def timed(check, data):
    started = time.monotonic()
    check(data)
    assert time.monotonic() - started < TIME_LIMIT_SECONDS


@pytest.mark.parametrize("path", files("tar"))
def test_a_shard_that_once_failed_gives_samples_and_reasons(path):
    timed(fuzz_tar.check_shard, path.read_bytes())


@pytest.mark.parametrize("path", files("images"))
def test_an_image_that_once_failed_gives_pixels_or_a_reason_and_the_same_ones_every_time(path):
    timed(fuzz_images.check_image, path.read_bytes())


def test_the_fuzzers_begin_with_tars_and_images_that_are_good():
    for data in fuzz_tar.seeds():
        fuzz_tar.check_shard(data)
    for data in fuzz_images.seeds():
        fuzz_images.check_image(data)
        assert len(fuzz_images.outcome(data)) == 2 or fuzz_images.outcome(data) == ("TIFF with fax compression",)


def test_the_fuzzer_is_not_needed_to_import_its_targets():
    assert "atheris" not in sys.modules
