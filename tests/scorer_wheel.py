"""The package of scorers beside this file, as a user has it: a wheel of its own, installed."""

import pathlib
import shutil
import subprocess
import sys

SOURCE = pathlib.Path(__file__).parent / "scorer_package"
FLAGS = {"centre": "centre", "warmth": "warmth", "words": "words longer_than=3"}
"""What `--scorer` is given, by the name of each scorer."""


def build_scorer_wheel(directory):
    """Builds the wheel of a copy of the package, because building leaves files beside the sources; gives its path."""
    source, dist = directory / "source", directory / "dist"
    shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    dist.mkdir()
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    _run([sys.executable, "-c", build, dist], cwd=source)
    (wheel,) = dist.glob("*.whl")
    return wheel


def install_scorers(directory):
    """Builds the wheel, and installs it where nothing else is; gives the directory, which is for PYTHONPATH."""
    target = directory / "installed"
    wheel = build_scorer_wheel(directory)
    _run([sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", target, wheel])
    return target


def _run(argv, **more):
    done = subprocess.run(
        [str(argument) for argument in argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more
    )
    assert done.returncode == 0, done.stdout
