"""Temporary files of a command: gone when it is done, and when it is told to stop."""

import pathlib
import subprocess
import sys
import tempfile

import pytest

from beam_curator.temporaries import of_workers, temporary_directory, temporary_file

STOPPED = """
import os, signal
from apache_beam.options.pipeline_options import PipelineOptions
from beam_curator.commands import interruption
from beam_curator.commands.progress_elsewhere import shown_of_processes
from beam_curator.commands.running import _built
from beam_curator.commands.worker_deaths import options_passed_on
signal.signal(signal.SIGINT, signal.default_int_handler)  # which some CI runners have ignored
with interruption.ends_process("job"), shown_of_processes(0, 0), options_passed_on(PipelineOptions([])):
    _built(PipelineOptions([]), lambda pipeline: None)  # Beam makes a directory for each pipeline
    print(sorted(os.listdir(os.environ["TMPDIR"])), flush=True)
    os.kill(os.getpid(), signal.SIGINT)
"""


@pytest.mark.slow
def test_a_command_that_is_stopped_leaves_none(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    ended = subprocess.run([sys.executable, "-c", STOPPED], capture_output=True, text=True, check=False)
    assert ended.returncode == 130, ended.stderr
    assert "beam-curator-" in ended.stdout
    assert "beam-pipeline-temp" in ended.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_worker_process_that_is_killed_leaves_none(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    worker = (
        "import os; from beam_curator.temporaries import temporary_directory\n"
        "with temporary_directory('vectors-') as directory: print(directory, flush=True); os.abort()"
    )
    with of_workers():
        died = subprocess.run([sys.executable, "-c", worker], capture_output=True, text=True, check=False)
        assert pathlib.Path(died.stdout.strip()).is_dir()
        tempfile.mkdtemp()  # as Beam's server does
    assert list(tmp_path.iterdir()) == []


def test_they_are_there_within_the_block_for_this_user_alone():
    with temporary_directory("a-") as directory, temporary_file("b", ".json") as file:
        assert pathlib.Path(directory).is_dir()
        assert (pathlib.Path(file).read_text(), pathlib.Path(file).suffix) == ("b", ".json")
        assert not pathlib.Path(file).parent.stat().st_mode & 0o077
    assert not pathlib.Path(directory).exists()
    assert not pathlib.Path(file).parent.exists()
