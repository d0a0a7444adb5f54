"""Data sets of Hugging Face's hub, read as `hf://`: from a hub on loopback, by processes that are told of it."""

import io
import os
import pathlib
import subprocess
import sys

import pytest
from PIL import Image

from tests.tars import tar_bytes

pytest.importorskip("huggingface_hub")
FLAGS = ["--clip_model", "tiny-untrained", "--min_aesthetic", "none", "--max_nsfw", "none", "--report", "false"]


def jpeg(shade):
    file = io.BytesIO()
    Image.new("RGB", (70, 70), (shade, 9, 90)).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture
def hub(tmp_path):
    """A data set with two shards, and how the command is run beside it."""
    directory = tmp_path / "hub"
    (directory / "data").mkdir(parents=True)
    for shard in range(2):
        members = [(f"{shard}{index}.jpg", jpeg(20 * index)) for index in range(5)]
        (directory / "data" / f"{shard}.tar").write_bytes(tar_bytes(members))
    program = pathlib.Path(__file__).with_name("hub.py")
    with subprocess.Popen([sys.executable, program, directory], stdout=subprocess.PIPE, text=True) as server:
        told = {"HF_ENDPOINT": f"http://127.0.0.1:{int(server.stdout.readline())}", "HF_HUB_OFFLINE": "0"}

        def run(*words):
            command = [sys.executable, "-m", "beam_curator.commands.main", *words]
            environment = {**os.environ, **told}
            return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)

        yield directory, run
        server.terminate()


def test_a_data_set_of_the_hub_is_read_and_verified_and_its_refusals_are_one_line(hub):
    directory, run = hub
    wanted = ["curate", "--output", "out", *FLAGS, "--input"]
    done = run(*wanted, "hf://datasets/u/r/data/*.tar")
    assert "10 kept + 0 dropped + 0 failed = 10 seen" in done.stdout, done.stderr
    assert "all as promised: 10 samples in 2 shards" in run("verify", "out").stdout
    done = run(*wanted, "hf://datasets/u/r/data/none.tar")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "no shard matches hf://datasets/u/r/data/none.tar" in done.stderr
    (directory / "refusal").write_text("403")
    done = run(*wanted, "hf://datasets/u/r/data/*.tar")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "cannot list hf://datasets/u/r/data/" in done.stderr
    assert "no permission" in done.stderr
