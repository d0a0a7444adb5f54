"""Scorers of a package of its own: its wheel is installed beside, and `--scorer` finds each by its name."""

import importlib.metadata
import io
import os
import pathlib
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from tests.integration.integration_content import ledger
from tests.scorer_wheel import FLAGS, install_scorers

ROOT = pathlib.Path(__file__).resolve().parents[2]
SECONDS = 600
BEAM_CURATOR = "import sys; from beam_curator.commands.main import main; sys.exit(main())"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return install_scorers(tmp_path_factory.mktemp("scorers"))


@pytest.fixture
def run(tmp_path):
    """Runs the command as a process, which finds packages also where it is told: exit code, output, errors."""

    def run(*argv, packages=()):
        path = os.pathsep.join(map(str, (ROOT, *packages)))
        done = subprocess.run(
            [sys.executable, "-c", BEAM_CURATOR, *map(str, argv)],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=SECONDS,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    return run


def centre(row, members):
    embedding = np.load(io.BytesIO(members["clip.npy"])).astype(np.float64)
    return {"centre": embedding.sum() / np.sqrt(768)}


def warmth(row, members):
    pixels = np.asarray(Image.open(io.BytesIO(members[row["image"]])).convert("RGB"))
    return {"warmth": pixels[..., 0].mean() - pixels[..., 2].mean()}


def words(row, members):
    every = row["caption"].split()
    return {"words": len([word for word in every if len(word) > 3]), "longest_word": max(every, key=len)}


def kept_members(out):
    """The members of each sample that is kept, by its key and their extension."""
    kept = {}
    for path in sorted(out.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, extension = member.name.split(".", 1)
                kept.setdefault(key, {})[extension] = tar.extractfile(member).read()
    return kept


def test_installed_scorers_are_named_by_flags_and_give_their_columns(installed, run, flags, tmp_path):
    out = tmp_path / "out"
    asked = [argument for flag in FLAGS.values() for argument in ("--scorer", flag)]
    code, printed, errors = run("curate", *flags, "--output", out, *asked, packages=[installed])
    print(printed, errors)
    assert code == 0, errors
    code, printed, errors = run("verify", out)  # which needs no scorer
    print(printed, errors)
    assert code == 0, errors

    kept = [row for row in ledger(out) if row["status"] == "kept"]
    members = kept_members(out)
    assert kept
    for row in kept:
        given = members[row["output_key"]]
        for column, value in {**centre(row, given), **warmth(row, given), **words(row, given)}.items():
            assert row[column] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-5, abs=1e-5))


def test_where_the_package_is_not_installed_one_line_says_so(run, flags, tmp_path):
    assert "picture-scorers" not in {package.name for package in importlib.metadata.distributions()}
    code, printed, errors = run("curate", *flags, "--output", tmp_path / "out", "--scorer", "warmth")
    assert (code, printed) == (2, "")
    (line,) = errors.splitlines()
    assert line.startswith("beam-curator: --scorer warmth: no installed scorer is called warmth")
    assert not (tmp_path / "out").exists()
