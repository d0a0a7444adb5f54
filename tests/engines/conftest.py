"""The job as a command of an environment that has only the wheel, and what it leaves when it runs locally."""

import dataclasses
import hashlib
import os
import pathlib
import subprocess
import time

import pytest

from examples import make_demo_shards
from tests.engines import engine_parts
from tests.integration.integration_content import content

JOB_SECONDS = 900


def pytest_collection_modifyitems(config, items):
    """These tests need Java, Maven and Go, and minutes: they run where they are asked for, by `make test-engines`."""
    if "engines" in config.getoption("markexpr"):
        return
    ours = [item for item in items if item.get_closest_marker("engines")]
    config.hook.pytest_deselected(items=ours)
    items[:] = [item for item in items if item not in ours]


@dataclasses.dataclass
class Job:
    """A job that has been started."""

    process: subprocess.Popen
    out: pathlib.Path
    logs: pathlib.Path
    started: float

    def wait(self):
        """The exit code, and what it printed."""
        code = self.process.wait(timeout=JOB_SECONDS)
        stdout, stderr = ((self.logs / name).read_text() for name in ("stdout", "stderr"))
        print(f"{self.out.name}: exit code {code} after {time.monotonic() - self.started:.0f} s")
        return code, stdout, stderr

    def scored(self):
        """Counts the ranges that are scored."""
        return len(list((self.out / "scores").glob("*.parquet")))

    def wait_for_scores(self, number):
        """Waits until so many ranges are scored; fails if the job ends before."""
        deadline = time.monotonic() + JOB_SECONDS
        while self.scored() < number:
            assert self.process.poll() is None, self.wait()
            assert time.monotonic() < deadline, "nothing is scored"
            time.sleep(0.05)


@pytest.fixture(scope="session")
def raw(tmp_path_factory):
    raw = tmp_path_factory.mktemp("demo") / "raw"
    assert make_demo_shards.main(["--output", str(raw), "--shards", "8", "--samples_per_shard", "125"]) == 0
    return raw


@pytest.fixture(scope="session")
def start(raw, tmp_path_factory):
    """Starts the job from an empty directory, with more flags, and the packages that are installed in `packages`."""
    command = engine_parts.build_worker().parent / "beam-curator"
    base = [
        *("--input", str(raw), "--clip_model", "tiny-untrained", "--min_width", "64"),
        *("--samples_per_shard", "100", "--range_mb", "1"),
    ]
    running = []

    def start(out, *more, packages=None):
        logs = tmp_path_factory.mktemp("job")
        argv = [command, "curate", *base, "--output", out, *more]
        with (logs / "stdout").open("wb") as stdout, (logs / "stderr").open("wb") as stderr:
            process = subprocess.Popen(
                [str(argument) for argument in argv],
                cwd=logs,
                stdout=stdout,
                stderr=stderr,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(packages or "")},
            )
        running.append(process)
        return Job(process, out, logs, time.monotonic())

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def local(start, tmp_path_factory):
    """Runs the job locally; gives the content of its output."""
    out = tmp_path_factory.mktemp("local") / "local"
    code, _, errors = start(out).wait()
    assert code == 0, errors
    print(f"local: sha256 {digest(out)}")
    return content(out)


def digest(out):
    """Computes one sha256 over the names and contents of an output directory."""
    lines = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(content(out).items()))
    return hashlib.sha256(lines.encode()).hexdigest()


@pytest.fixture
def assert_same(local):
    """Asserts that a job ended well and left what the local one left, to the byte."""

    def assert_same(job):
        code, stdout, errors = job.wait()
        assert code == 0, errors
        print(f"{job.out.name}: sha256 {digest(job.out)}")
        assert content(job.out) == local
        return stdout

    return assert_same
