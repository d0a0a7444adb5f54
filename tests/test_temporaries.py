"""Temporary files of a command: gone when it is done, and when it is told to stop."""

import pathlib
import subprocess
import sys

import pytest

from beam_curator.temporaries import temporary_directory, temporary_file

STOPPED = """
import os, signal
from apache_beam.options.pipeline_options import PipelineOptions
from beam_curator.commands import interruption
from beam_curator.commands.progress_elsewhere import shown_of_processes
from beam_curator.commands.worker_deaths import options_passed_on
signal.signal(signal.SIGINT, signal.default_int_handler)  # which some CI runners have ignored
with interruption.ends_process("job"), shown_of_processes(0, 0), options_passed_on(PipelineOptions([])):
    print(sorted(os.listdir(os.environ["TMPDIR"])), flush=True)
    os.kill(os.getpid(), signal.SIGINT)
"""


@pytest.mark.slow
def test_a_command_that_is_stopped_leaves_none(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    ended = subprocess.run([sys.executable, "-c", STOPPED], capture_output=True, text=True, check=False)
    assert ended.returncode == 130, ended.stderr
    assert "beam-curator-" in ended.stdout
    assert list(tmp_path.iterdir()) == []


def test_they_are_there_within_the_block_for_this_user_alone():
    with temporary_directory("a-") as directory, temporary_file("b", ".json") as file:
        assert pathlib.Path(directory).is_dir()
        assert (pathlib.Path(file).read_text(), pathlib.Path(file).suffix) == ("b", ".json")
        assert not pathlib.Path(file).parent.stat().st_mode & 0o077
    assert not pathlib.Path(directory).exists()
    assert not pathlib.Path(file).parent.exists()
