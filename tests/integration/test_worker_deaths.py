"""Jobs with several worker processes, one of which dies: they fail at once and say so, and the next run goes on.

BEAM_CURATOR_KILLS=N kills one in the writing as well, and N more at random moments; BEAM_CURATOR_KILLS_SEED=N moves
the moments.
"""

import contextlib
import os
import random
import time

import psutil
import pytest

from tests.integration.integration_content import content
from tests.integration.processes import wait_until
from tests.patience import HANG_SECONDS

KILLS = int(os.environ.get("BEAM_CURATOR_KILLS", "0"))
SEED = int(os.environ.get("BEAM_CURATOR_KILLS_SEED", "0"))
TRIES = 10
"""How often a moment is waited for that a busy machine may miss."""
PROCESSES = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]


@pytest.fixture(scope="module")
def undisturbed(nursery, job, tmp_path_factory):
    """Runs a job in one process; gives the content of its output."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    assert nursery.run(*job, "--output", out)[0] == 0
    return content(out)


def workers(process):
    """Beam's worker processes, but for the shells that started them."""
    found = []
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "apache_beam.runners.worker.sdk_worker_main" in child.cmdline():
                    found.append(child)
    return found


def count(out, pattern):
    return len(list(out.glob(pattern)))


def assert_fails_and_is_resumed(nursery, job, undisturbed, out, process, started):
    """The job ends by itself, with one line, and leaves no process; the same command, in one process, finishes it."""
    wait_until(lambda: False, process)
    _, left = psutil.wait_procs(
        started, timeout=HANG_SECONDS
    )  # what has been killed is there until the system has reaped it
    assert not left
    assert process.wait() == 1
    said = process.stderr.read_text().splitlines()
    line = (
        f"beam-curator: a worker process died (killed by SIGKILL: out of memory?); what is scored is kept in {out}: "
        "run the same command again to resume"
    )
    assert [text for text in said if text != "Killed"] == [line]  # the worker's shell says that as well
    assert process.stdout.read_text() == ""
    standing = {name: digest for name, digest in content(out).items() if not name.startswith("_tmp/")}
    assert standing.items() <= undisturbed.items()
    assert nursery.run(*job, "--output", out)[0] == 0
    assert content(out) == undisturbed


MOMENTS = {
    "start": lambda out, started: len(started) >= 1,
    "scoring": lambda out, started: count(out, "scores/*.parquet") >= 2,
    "writing": lambda out, started: count(out, "samples/*.parquet") >= 1,
}


LONG = pytest.mark.skipif(not KILLS, reason="takes long: set BEAM_CURATOR_KILLS to run it")


@pytest.mark.parametrize("phase", ["start", "scoring", pytest.param("writing", marks=LONG)])
def test_a_worker_that_is_killed_ends_the_job_with_one_line_that_says_how_to_go_on(
    nursery, job, undisturbed, tmp_path, phase
):
    tries = (bereft_in(phase, nursery, job, tmp_path / f"out-{attempt}") for attempt in range(TRIES))
    process, started, out = next(done for done in tries if done)  # the others were over before
    assert_fails_and_is_resumed(nursery, job, undisturbed, out, process, started)


def bereft_in(phase, nursery, job, out):
    """A job of which a worker was killed in a phase, its workers and its output; None where it was over before."""
    process = nursery.start(*job, "--output", out, *PROCESSES)
    wait_until(lambda: workers(process) and MOMENTS[phase](out, workers(process)), process)
    started = workers(process)
    with contextlib.suppress(psutil.NoSuchProcess):
        if started and started[-1].status() != psutil.STATUS_ZOMBIE:
            started[-1].kill()
            return process, started, out
    process.wait()
    return None


@pytest.mark.parametrize("number", range(KILLS))
def test_a_worker_that_is_killed_at_any_moment_ends_the_job(nursery, job, undisturbed, tmp_path, number):
    chance = random.Random(f"{SEED}/{number}")
    out = tmp_path / "out"
    process = nursery.start(*job, "--output", out, *PROCESSES)
    assert wait_until(lambda: workers(process), process)
    time.sleep(chance.uniform(0, 8))
    started = workers(process)
    if not started:
        pytest.skip("the job was faster")
    chance.choice(started).kill()
    assert_fails_and_is_resumed(nursery, job, undisturbed, out, process, started)
