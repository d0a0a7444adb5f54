"""The guides of the documentation's site run as they are written: each block in order, in one empty directory."""

import fnmatch
import os
import pathlib
import re
import shutil
import subprocess

import pytest

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).resolve().parents[1]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


DRAW_DEMO = "beam-curator demo --output demo --only_draw"
"""The line with which most guides begin. It draws the same bytes each time, for seconds: the first result is copied."""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, warm):
    """The directory `demo` as `DRAW_DEMO` leaves it, and what it prints."""
    directory = tmp_path_factory.mktemp("drawn")
    return directory / "demo", _run(["bash", "-euc", DRAW_DEMO], directory, warm)


def _run(argv, directory, warm):
    """Standard output of a program, which has `beam-curator` and `python` of this environment."""
    environment = {**os.environ, "PATH": f"{warm.programs}:{os.environ['PATH']}", "PYTHONPATH": f"{ROOT}:{directory}"}
    done = subprocess.run(argv, cwd=directory, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{argv[-1]}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def run(tmp_path, warm, request):
    """Runs a block of bash or Python in the guide's directory."""
    directory = tmp_path / "guide"
    directory.mkdir()

    def run_block(language, code):
        printed = ""
        if language == "bash" and code.startswith(f"{DRAW_DEMO}\n"):
            demo, printed = request.getfixturevalue("drawn")
            shutil.copytree(demo, directory / "demo")
            code = code.removeprefix(f"{DRAW_DEMO}\n")
        argv = ["bash", "-euc", code] if language == "bash" else [str(warm.programs / "python"), "-c", code]
        return printed + _run(argv, directory, warm)

    run_block.directory = directory
    return run_block


@pytest.mark.slow
@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_a_guide_does_what_it_says(guide, run):
    printed, blocks = "", BLOCK.findall(guide.read_text())
    assert blocks
    for language, title, code in blocks:
        if language == "text":
            for line in filter(str.strip, code.splitlines()):
                pattern = f"*{line.strip().replace('[', '[[]').replace('...', '*')}*"
                assert any(fnmatch.fnmatch(said, pattern) for said in printed.splitlines()), (
                    f"{line}\nnot in\n{printed}"
                )
        elif title:
            (run.directory / title).write_text(code)
        else:
            assert language in ("bash", "python"), language
            printed = run(language, code)
