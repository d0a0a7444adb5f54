"""Jobs on buckets in processes of their own: killed and resumed, with worker processes, with weights in a bucket."""

import contextlib
import functools
import io
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

from beam_curator.commands import verify_output
from beam_curator.sources import matching
from beam_curator.storage import directories, files
from tests.buckets.job_output import TINY, comparable, without_timings
from tests.patience import HANG_SECONDS

pytestmark = pytest.mark.buckets

TRIES = 5
"""How often a moment is waited for that a busy machine may miss."""


@pytest.fixture
def process(service):
    """Starts the main job as a process that knows the service by its flags and environment alone."""
    started = []

    def start(*argv):
        environment = {**os.environ, **service.environment}
        command = [sys.executable, "-m", "pipelines.curate_images", *argv, *service.flags]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, env=environment, start_new_session=True, **pipes))
        return started[-1]

    yield start
    for one in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(one.pid, signal.SIGKILL)
        one.communicate(timeout=HANG_SECONDS)


def is_killed_when(condition, process):
    """Kills a process in the moment that a condition comes true; false where it had ended before."""
    deadline = time.monotonic() + HANG_SECONDS
    while process.poll() is None and not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    code = process.wait(HANG_SECONDS)
    assert code in (0, -signal.SIGKILL), process.communicate()
    return code != 0


def is_done(output):
    return files.exists(f"{output}/manifest.json")


@pytest.mark.parametrize(("written", "times"), [(r"/scores/.*parquet", 2), (r"/out-\d/00000\.(tar|parquet)", 1)])
def test_a_job_that_is_killed_goes_on_to_the_same_bytes(service, bucket, raw, process, written, times):
    service.put_directory(raw, f"{bucket}/raw")
    given = ["--input", f"{bucket}/raw/*.tar", *TINY]
    whole = process(*given, "--output", f"{bucket}/whole")
    _, err = whole.communicate(timeout=HANG_SECONDS)
    assert whole.returncode == 0, err

    def published(output):
        names = directories.list_files(output, "**")
        return sum(bool(re.search(written, found.path)) for found in names) >= times

    def is_killed(output):
        condition = functools.partial(published, output)
        return is_killed_when(condition, process(*given, "--output", output)) and not is_done(output)

    output = next(filter(is_killed, (f"{bucket}/out-{attempt}" for attempt in range(TRIES))))  # others were over before
    resumed = process(*given, "--output", output)
    out, err = resumed.communicate(timeout=HANG_SECONDS)
    assert resumed.returncode == 0, err
    reused = re.search(r"([\d,]+) .*(reused|before)", out)
    assert reused, out
    assert without_timings(service.contents(output)) == without_timings(service.contents(f"{bucket}/whole"))


def test_worker_processes_reach_buckets_by_the_flags_of_the_job(service, bucket, raw, process, local_output):
    service.put_directory(raw, f"{bucket}/raw")
    workers = ["--direct_num_workers", "2", "--direct_running_mode", "multi_processing"]
    job = process("--input", f"{bucket}/raw/*.tar", "--output", f"{bucket}/out", *TINY, *workers)
    _, err = job.communicate(timeout=HANG_SECONDS)
    assert job.returncode == 0, err
    assert comparable(service.contents(f"{bucket}/out")) == comparable(local_output)


def test_weights_are_read_from_a_bucket_and_score_real_photographs(service, bucket, shared, process):
    from beam_curator.models.heads.aesthetic import AestheticHead

    service.put_directory(shared / "data", f"{bucket}/raw")
    service.put_directory(shared / "models", f"{bucket}/models")
    heads = ["--model_dir", f"{bucket}/models", "--aesthetic_model", "v2", "--nsfw_model", "laion"]
    heads.append("--accept_other_encoder")
    given = ["--input", f"{bucket}/raw/image{{1..4}}.tar", "--clip_model", "tiny-untrained"]
    job = process(*given, *heads, "--output", f"{bucket}/out", "--min_aesthetic", "-99", "--max_nsfw", "2")
    _, err = job.communicate(timeout=HANG_SECONDS)
    assert job.returncode == 0, err
    parts = [c for name, c in service.contents(f"{bucket}/out").items() if name.startswith("scores/")]
    tables = [pq.read_table(io.BytesIO(part)) for part in parts]
    aesthetic = AestheticHead.load(shared / "models" / "sac+logos+ava1-l14-linearMSE.pth")
    for table in tables:
        embeddings = np.array(table["embedding"].to_pylist(), np.float16)
        assert np.array_equal(table["aesthetic"].to_numpy(), aesthetic(embeddings))
    assert sum(table.num_rows for table in tables) == 11
    assert verify_output.main([f"{bucket}/out", *service.flags]) == 0


def test_listings_of_thousands_are_whole(service, bucket):
    """Of several pages, where the service has pages: the emulator of GCS that pip installs has one alone, and is slow
    with many objects."""
    in_pages = service.scheme == "s3" or "FAKE_GCS_SERVER" in os.environ
    names = [f"raw/{index:05d}.tar" for index in range(2345 if in_pages else 234)]
    service.put_many(bucket, names)
    found = matching.match_files([f"{bucket}/raw/*.tar"])
    assert [one.path for one in found] == [f"{bucket}/{name}" for name in names]
    most = len(names) * 6 // 7
    assert len(matching.match_files([f"{bucket}/raw/{{00001..{most:05d}}}.tar"])) == most
    files.delete([one.path for one in found[:most]])
    assert service.names(bucket) == names[most:]
