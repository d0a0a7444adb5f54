"""Whole jobs on real tars with real images: the demo's shards, and one finished job that tests copy."""

import pathlib
import shutil

import pytest

import beam_curator as bc
from beam_curator.commands import curate_images
from examples import make_demo_shards
from tests.integration.processes import Nursery

SAMPLES_PER_SHARD = 20


@pytest.fixture(scope="session")
def raw(tmp_path_factory):
    """A directory of demo shards: duplicates, broken images and a truncated shard among them."""
    directory = tmp_path_factory.mktemp("demo") / "raw"
    assert make_demo_shards.main(["--output", str(directory), "--shards", "3", "--samples_per_shard", "30"]) == 0
    return directory


@pytest.fixture(scope="session")
def flags(raw):
    """The flags of the finished job, but for --output."""
    return [
        *("--input", str(raw), "--clip_model", "tiny-untrained"),
        *("--min_width", "64", "--samples_per_shard", str(SAMPLES_PER_SHARD), "--range_mb", "0.5"),
        *("--report", "false"),  # a third of the time of so small a job; tests of the report ask for it
    ]


@pytest.fixture(scope="session")
def finished_once(flags, tmp_path_factory):
    directory = tmp_path_factory.mktemp("finished") / "out"
    assert curate_images.main([*flags, "--output", str(directory)]) == 0
    return directory


@pytest.fixture
def finished(finished_once, tmp_path):
    """A copy of the output of a finished job, to do with as one likes."""
    return pathlib.Path(shutil.copytree(finished_once, tmp_path / "out"))


@pytest.fixture
def curate(flags, capsys):
    """Runs the main job with the flags of the finished one and more; gives exit code, output and errors."""

    def run(output, *more, base=None):
        capsys.readouterr()
        code = curate_images.main([*(flags if base is None else base), "--output", str(output), *more])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def nursery(tmp_path_factory):
    """Starts commands as processes, and ends those that are left."""
    nursery = Nursery(tmp_path_factory.mktemp("logs"))
    yield nursery
    nursery.close()


@pytest.fixture(scope="session")
def job(tmp_path_factory):
    """The flags of a small job with many ranges, but for --output."""
    raw = tmp_path_factory.mktemp("killed") / "raw"
    assert make_demo_shards.main(["--output", str(raw), "--shards", "2", "--samples_per_shard", "20"]) == 0
    return [
        *("--input", str(raw), "--clip_model", "tiny-untrained"),
        *("--min_aesthetic", "4", "--samples_per_shard", "4", "--range_mb", "0.05"),
    ]


@pytest.fixture(scope="session")
def deduplicated_once(raw, tmp_path_factory):
    """A finished job of the demo's shards, all kinds of duplicates dropped."""
    output = tmp_path_factory.mktemp("deduplicated") / "out"
    bc.curate(
        raw,
        output,
        clip_model="tiny-untrained",
        range_mb=0.5,
        samples_per_shard=20,
        min_width=64,
        min_aesthetic="none",
        max_nsfw="none",
        duplicates=["exact", "perceptual", "semantic"],
        duplicate_cosine=0.999,
    )
    return output


@pytest.fixture
def deduplicated(deduplicated_once, tmp_path):
    return pathlib.Path(shutil.copytree(deduplicated_once, tmp_path / "out"))
