"""The package resolves beside those that people have in the same environment; asks the package registry."""

import pathlib
import subprocess
import sys

import pytest

UV = pathlib.Path(sys.executable).with_name("uv")
PROJECT = pathlib.Path(__file__).resolve().parents[1] / "pyproject.toml"
UNREACHABLE = ("Failed to fetch", "error sending request", "dns error", "Connection refused", "timed out")


@pytest.mark.slow
@pytest.mark.skipif(not UV.exists(), reason="needs uv, which make installs")
@pytest.mark.parametrize(
    "beside", ["open_clip_torch[training]", "clip-retrieval", "img2dataset", "datasets", "lancedb"]
)
def test_it_resolves_beside_what_people_have(beside, tmp_path):
    (tmp_path / "beside.in").write_text(f"{beside}\n")
    command = [UV, "pip", "compile", "--quiet", "--python-version", "3.11", "--no-header", PROJECT, "beside.in"]
    try:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        pytest.skip("the package registry does not answer")
    if done.returncode and any(text in done.stderr for text in UNREACHABLE):
        pytest.skip(f"the package registry cannot be reached: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    names = {line.partition("==")[0] for line in done.stdout.splitlines() if "==" in line}
    assert beside.partition("[")[0].replace("_", "-") in names
