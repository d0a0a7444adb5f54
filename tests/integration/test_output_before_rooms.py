"""An output directory that was made before the files of this package moved to their rooms goes on as it was."""

import json
import pathlib
import shutil

import pytest

from beam_curator.commands import curate_images, verify_output
from tests.integration.integration_content import content

MADE_BEFORE = pathlib.Path(__file__).resolve().parents[1] / "data" / "output_before_rooms"
FLAGS = [
    *("--input", "raw/*.tar", "--output", "out", "--clip_model", "tiny-untrained", "--range_mb", "0.008"),
    *("--aesthetic_model", "untrained", "--nsfw_model", "untrained", "--samples_per_shard", "4"),
    *("--min_aesthetic", "0.1", "--max_nsfw", "1", "--min_width", "44"),
]


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A copy of the old directory and its input, elsewhere and with new times of change, as the working directory."""
    shutil.copytree(MADE_BEFORE, tmp_path / "job", copy_function=shutil.copyfile)
    monkeypatch.chdir(tmp_path / "job")
    return tmp_path / "job"


def without_versions(directory):
    """What stands there; of the manifest and job.json, what versions and places of this machine do not change."""
    found = content(directory)
    for name in ("manifest.json", "job.json"):
        found.pop(name)
    manifest = json.loads((directory / "manifest.json").read_text())
    return found, {key: value for key, value in manifest.items() if key not in ("software", "timings")}


def test_it_resumes_scores_nothing_and_changes_no_byte(job, capsys):
    before = without_versions(job / "out")
    assert curate_images.main(FLAGS) == 0
    assert "scored 0 images (11 had been scored before)" in capsys.readouterr().out
    assert without_versions(job / "out") == before
    assert verify_output.main(["out"]) == 0


def test_what_is_missing_of_it_is_written_again_bit_for_bit(job, capsys):
    before = without_versions(job / "out")
    for name in ("00001.tar", "00000_stats.json", "samples/a-9619d3a830-00001.parquet"):
        (job / "out" / name).unlink()
    assert curate_images.main(FLAGS) == 0
    assert "scored 0 images (11 had been scored before)" in capsys.readouterr().out
    assert without_versions(job / "out") == before
