"""A curated directory, and environments in which other projects' tools read it."""

import os
import pathlib
import subprocess
import sys

import pytest

from beam_curator.commands import curate_images
from beam_curator.commands.export import main as export
from tests.ecosystem.downloads import write_downloads

SAMPLES, SAMPLES_PER_SHARD = 60, 25
TORCH = "torch>=2.6,<2.11"
OPEN_CLIP_TRAIN = ["open_clip_torch[training]", "webdataset==0.2.86", TORCH]
ROOT = pathlib.Path(__file__).resolve().parents[2]


def pytest_collection_modifyitems(config, items):
    """These tests install other projects' packages: they run where they are asked for, by `make test-ecosystem`."""
    if "ecosystem" in config.getoption("markexpr"):
        return
    ours = [item for item in items if item.get_closest_marker("ecosystem")]
    config.hook.pytest_deselected(items=ours)
    items[:] = [item for item in items if item not in ours]


@pytest.fixture(scope="session")
def curated(tmp_path_factory):
    """The output of a job over what img2dataset would have downloaded: 60 samples in three tars."""
    directory = tmp_path_factory.mktemp("ecosystem")
    write_downloads(directory / "downloads", SAMPLES)
    flags = [
        *("--input", str(directory / "downloads"), "--output", str(directory / "curated")),
        *("--clip_model", "tiny-untrained", "--min_aesthetic", "none", "--max_nsfw", "none"),
        *("--samples_per_shard", str(SAMPLES_PER_SHARD)),
    ]
    assert curate_images.main(flags) == 0
    return directory / "curated"


@pytest.fixture(scope="session")
def vectors(curated):
    """Runs `beam-curator export embeddings` on it; gives the path of what it wrote."""
    output = curated.parent / "vectors"
    assert export(["embeddings", str(curated), "--output", str(output)]) == 0
    return output


@pytest.fixture(scope="session")
def environments(tmp_path_factory):
    """Gives the directory of environments, which are made once each. BEAM_CURATOR_ENVIRONMENTS names one that keeps
    them."""
    kept = os.environ.get("BEAM_CURATOR_ENVIRONMENTS")
    return pathlib.Path(kept) if kept else tmp_path_factory.mktemp("environments")


@pytest.fixture
def run_with(environments, curated):
    """Runs a program beside the curated directory, with Python of an environment that has these requirements alone."""

    def run(requirements, program, *arguments):
        python = environments / "-".join(requirements).translate(_NAMES) / "bin" / "python"
        if not python.exists():
            uv = [sys.executable, "-m", "uv"]
            _run([*uv, "venv", "--quiet", "--python", sys.executable, python.parents[1]], curated.parent)
            _run([*uv, "pip", "install", "--quiet", "--python", python, *requirements], curated.parent)
        run = [program] if isinstance(program, pathlib.Path) else ["-c", program]
        return _run([python, *run, *arguments], curated.parent)

    return run


@pytest.fixture
def own_python_with(environments, curated):
    """Runs `beam-curator` with packages beside its own ones, without what these ask for: it has that."""

    def run(packages, *words):
        target = environments / f"{'-'.join(packages)}-alone"
        if not target.exists():
            install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--target", target]
            _run([*install, *packages], curated.parent)
        command = [sys.executable, "-m", "beam_curator.commands.main", *words]
        return _run(command, curated.parent, python_path=f"{ROOT}{os.pathsep}{target}")

    return run


_NAMES = str.maketrans(dict.fromkeys("<>=,[]!~ ", "_"))


def _run(command, directory, python_path=""):
    environment = {**os.environ, "PYTHONPATH": python_path, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        list(map(str, command)), cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout
