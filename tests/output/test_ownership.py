"""Whose an output directory is: what may be written there, and what is told of it before a job begins."""

import pytest

from beam_curator.errors import UsageError
from beam_curator.output.job_file import Job, standing_job, write_job
from beam_curator.output.ownership import check_foreign, notes_before
from beam_curator.storage import directories
from tests.output.job_files import SHARDS, STRANGE


@pytest.mark.parametrize("content", STRANGE)
def test_a_job_json_of_another_program_is_no_reason_against_a_directory_below(tmp_path, content):
    (tmp_path / "job.json").write_text(content)
    check_foreign(str(tmp_path / "below" / "out"))


def test_a_directory_below_that_of_a_job_is_refused_once_that_has_scored_anything(tmp_path):
    write_job(str(tmp_path), Job(["a"], 64.0, shards=SHARDS))
    below = str(tmp_path / "a" / ".." / "b")
    check_foreign(below)
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "a-0123456789-00000.parquet").touch()
    with pytest.raises(UsageError, match=f"lies in {tmp_path}, the output of another job"):
        check_foreign(below)


def test_before_a_job_begins_score_parts_are_not_counted(tmp_path, monkeypatch):
    write_job(str(tmp_path), Job(["a"], 64.0, shards=SHARDS))
    assert standing_job(str(tmp_path)) is None
    looked_at = []

    def parts(directory, below=False):
        for number in range(1_000_000):
            looked_at.append(number)
            yield f"a-0123456789-{number:05d}.parquet"

    monkeypatch.setattr(directories, "iter_files", parts)
    assert standing_job(str(tmp_path)) is not None
    assert notes_before(str(tmp_path), Job(["a"], 64.0, shards=SHARDS), None, overwrite=False) is not None
    assert len(looked_at) < 10


@pytest.mark.parametrize("output", ["file", "file/below/out", "nowhere", "nowhere/out"])
def test_an_output_in_whose_place_no_directory_can_be_is_refused_before_anything_is_written(tmp_path, output):
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    there = tmp_path / output.partition("/")[0]
    with pytest.raises(UsageError) as caught:
        check_foreign(str(tmp_path / output))
    assert str(caught.value) == f"--output {tmp_path / output}: {there} is no directory: give a new one"
