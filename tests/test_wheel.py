"""The built wheel, in a clean environment: what it holds, and that its command does the demo and checks it."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile

import pytest

import beam_curator

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).resolve().parents[1]
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "demo", "site", "*.egg-info")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built of a copy of the project: it leaves files beside the sources, and would take up those that are left."""
    source, dist = tmp_path_factory.mktemp("wheel") / "source", tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT, source, ignore=NOT_COPIED)
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(dist)], cwd=source, check=True, capture_output=True)
    (built,) = dist.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """A virtual environment with the wheel; what the package depends on is lent to it by the one that runs the tests.

    A `.pth` lends packages, and not what their own `.pth` files do: an editable installation stays behind.
    """
    place = tmp_path_factory.mktemp("environment") / "venv"
    venv.create(place, with_pip=False)
    python = place / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--python", python, "install", "--no-index", "--no-deps", wheel],
        check=True,
    )
    (packages,) = place.glob("lib/python*/site-packages")
    lent = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages / "lent.pth").write_text("".join(f"{path}\n" for path in sorted(lent)))
    return place


@pytest.fixture
def run(environment, tmp_path):
    """Runs a program of the environment, in an empty directory: its exit code, output and errors."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}

    def run(program, *argv):
        done = subprocess.run(
            [environment / "bin" / program, *argv], cwd=tmp_path, env=variables, capture_output=True, text=True
        )
        return done.returncode, done.stdout, done.stderr

    return run


def test_the_wheel_holds_the_package_alone_and_all_of_it(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    version = beam_curator.__version__
    assert {name.split("/")[0] for name in names} == {"beam_curator", f"beam_curator-{version}.dist-info"}
    ours = {str(path.relative_to(ROOT)) for path in (ROOT / "beam_curator").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == ours
    assert "beam_curator/py.typed" in names


def test_it_is_the_wheel_that_is_imported_and_nothing_else_of_the_project(run, environment):
    code, out, err = run("python", "-c", "import beam_curator; print(beam_curator.__file__)")
    assert (code, err) == (0, "")
    assert pathlib.Path(out.strip()).is_relative_to(environment)
    assert "No module named 'pipelines'" in run("python", "-c", "import pipelines")[2]


def test_its_command_says_its_version_and_what_it_does(run):
    assert run("beam-curator", "--version") == (0, f"beam-curator {beam_curator.__version__}\n", "")
    code, out, err = run("beam-curator", "--help")
    assert (code, err) == (0, "")
    assert all(
        re.search(rf"^  {command} ", out, re.MULTILINE) for command in ("curate", "verify", "report", "models", "demo")
    )


def test_the_file_that_the_template_runs_needs_the_wheel_alone(run):
    script = ROOT / "pipelines" / "curate_images.py"
    assert run("python", script, "--input", "a.tar") == (2, "", "beam-curator: --output is missing (see --help)\n")


def test_its_demo_runs_and_its_output_is_verified(run, tmp_path):
    code, out, err = run("beam-curator", "demo", "--output", "demo")
    assert code == 0, err
    assert "Drew 120 samples" in out
    assert list((tmp_path / "demo" / "curated").glob("*.tar"))
    code, out, err = run("beam-curator", "verify", "demo/curated")
    assert code == 0, err
    print(out)
    (tmp_path / "demo" / "curated" / "00000.tar").unlink()
    assert run("beam-curator", "verify", "demo/curated")[0] == 1
