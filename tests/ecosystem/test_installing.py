"""Beam Curator is installed beside other projects: a resolver finds versions that all of them take."""

import pathlib
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.ecosystem, pytest.mark.slow]

ROOT = pathlib.Path(__file__).resolve().parents[2]
BESIDE = {
    "open_clip_torch[training]": "open-clip-torch>=3",
    "img2dataset": "img2dataset>=1.47",
    "datasets": "datasets>=4",
    "lancedb": "lancedb>=0.20",
    "clip-retrieval": "clip-retrieval>=2.20",  # later ones want pyarrow<16: see docs/ecosystem.md
}


@pytest.mark.parametrize("python", ["3.10", "3.13"])
@pytest.mark.parametrize("tool", BESIDE)
def test_a_resolver_finds_versions_for_both(tmp_path, tool, python):
    wanted = tmp_path / "wanted.in"
    wanted.write_text(f"{tool}\n{BESIDE[tool]}\n")
    resolve = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
    resolve += ["--python-version", python, "--output-file", tmp_path / "found.txt", ROOT / "pyproject.toml", wanted]
    done = subprocess.run(list(map(str, resolve)), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = (tmp_path / "found.txt").read_text()
    name = tool.partition("[")[0].replace("_", "-")
    assert f"{name}==" in found.replace("_", "-")
    assert "open-clip-torch==" in found
    assert "apache-beam==" in found
