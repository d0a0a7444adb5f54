"""Interactive Beam: collections are collected and shown, with what the extra `interactive` installs."""

import collections
import os
import pathlib
import subprocess
import sys

import pytest

from tests.integration.integration_content import ledger

pytest.importorskip("IPython", reason="the extra `interactive` is not installed")
pytest.importorskip("ipywidgets", reason="the extra `interactive` is not installed")


@pytest.mark.slow
def test_a_notebook_collects_and_shows_what_transforms_give(raw, finished_once):
    job = pathlib.Path(__file__).with_name("interactive_job.py")
    environment = {**os.environ, "PYTHONPATH": str(job.parents[2])}
    argv = [sys.executable, str(job), f"{raw}/*.tar"]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = dict(line.split()[1:] for line in done.stdout.splitlines() if line.startswith("collected"))
    rows = ledger(finished_once)
    assert int(told["samples"]) == len(rows)
    assert 0 < int(told["batches"]) == int(told["selected"])
    statuses = collections.Counter(row["status"] for row in rows)
    assert int(told["failed"]) == statuses["failed"] > 0
    assert int(told["kept"]) + int(told["dropped"]) + int(told["failed"]) == len(rows)
    assert int(told["kept"]) > 0
    assert "shown" in done.stdout
