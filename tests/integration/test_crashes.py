"""Jobs that are killed at any moment, and told to stop: nothing is lost, nothing is done twice, the output is the same.

BEAM_CURATOR_KILLS=N kills N times (10 unless told); BEAM_CURATOR_KILLS_SEED=N moves the moments.
"""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from beam_curator.commands import verify_output
from tests.integration.integration_content import content
from tests.integration.processes import wait_until
from tests.patience import HANG_SECONDS

KILLS = int(os.environ.get("BEAM_CURATOR_KILLS", "10"))
SEED = int(os.environ.get("BEAM_CURATOR_KILLS_SEED", "0"))
ROUND = ["start", "scoring", "scoring", "start", "scoring", "scoring", "writing", "writing", "start", "writing"]
"""In which phases a job is killed, one run after the other, until it may finish."""
TRIES = 20
"""How often a moment is waited for that a busy machine may miss."""


@pytest.fixture(scope="module")
def undisturbed(nursery, job, tmp_path_factory):
    """Runs a job that nobody disturbs; gives the content of its output."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    code, _, err = nursery.run(*job, "--output", out)
    assert (code, err) == (0, "")
    assert len(parts(out)) > 15
    return content(out)


def parts(out):
    """The score parts, and what tells whether one was written again: its inode and time of change."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in (out / "scores").glob("*.parquet")}


def written_since(out, started):
    """Counts the files of the ledger and of output shards that a run has written."""
    count = 0
    for path in [*out.glob("samples/*.parquet"), *out.glob("0*")]:
        with contextlib.suppress(FileNotFoundError):
            count += path.stat().st_mtime_ns >= started
    return count


def moment(phase, chance, out, undisturbed):
    """A random moment of a phase, as a condition that comes true then, and how many seconds to wait after it.

    A run with nothing left to score is killed in the writing instead.
    """
    if phase == "start":
        return (lambda: True), chance.uniform(0, 0.8)
    due = [name for name in undisturbed if name.startswith("scores/")]
    missing = len(due) - len(parts(out))
    if phase == "scoring" and missing:
        wanted = len(parts(out)) + chance.randint(1, min(5, missing))
        return (lambda: len(parts(out)) >= wanted), chance.uniform(0, 0.03)
    # Ledger files are written by every run, as many as there are parts; output shards that stand are left alone.
    absent = [name for name in undisturbed if name.startswith("0") and not (out / name).exists()]
    wanted, started = chance.randint(1, len(due) + len(absent)), time.time_ns()
    return (lambda: written_since(out, started) >= wanted), chance.uniform(0, 0.005)


def kill_in(phase, chance, nursery, argv, out, undisturbed):
    """Kills a job at a random moment of a phase. Where the job is over before, all is put back and done again.

    What is put back are the files themselves, by links, for `parts` tells by their inodes whether they were written
    again. Jobs change no file where it stands.
    """
    before = out.with_name("before")
    shutil.copytree(out, before, copy_function=os.link) if out.exists() else before.mkdir()
    for _ in range(TRIES):
        process = nursery.start(*argv)
        condition, delay_seconds = moment(phase, chance, out, undisturbed)
        if wait_until(condition, process):
            time.sleep(delay_seconds)
        process.send(signal.SIGKILL)
        if process.wait() == -signal.SIGKILL:
            shutil.rmtree(before)
            return
        shutil.rmtree(out)
        shutil.copytree(before, out, copy_function=os.link)
    raise AssertionError(f"the moment of {phase} comes too late: nothing is proven")


def assert_whole_as_far_as_it_went(out, undisturbed):
    """Whatever stands under a final name is what an undisturbed run leaves there, to the byte."""
    standing = {name: digest for name, digest in content(out).items() if not name.startswith("_tmp/")}
    assert standing.items() <= undisturbed.items()


def assert_finished(out, undisturbed, scored):
    assert content(out) == undisturbed
    assert not (out / "_tmp").exists()
    assert verify_output.main([str(out)]) == 0
    assert scored.items() <= parts(out).items(), "a range was scored again though its part was there"


def rounds():
    """The phases to kill in, dealt into rounds: each begins with an empty directory and ends with a finished job."""
    phases = [ROUND[kill % len(ROUND)] for kill in range(KILLS)]
    return [phases[first : first + len(ROUND)] for first in range(0, KILLS, len(ROUND))]


@pytest.mark.parametrize("number", range(len(rounds())))
def test_a_job_that_is_killed_again_and_again_loses_nothing_and_scores_nothing_twice(
    nursery, job, undisturbed, tmp_path, number
):
    chance = random.Random(f"{SEED}/{number}")
    out = tmp_path / "out"
    scored = {}
    for phase in rounds()[number]:
        kill_in(phase, chance, nursery, [*job, "--output", out], out, undisturbed)
        print(f"round {number}, {phase}: {len(parts(out))} parts")
        assert_whole_as_far_as_it_went(out, undisturbed)
        assert scored.items() <= parts(out).items(), "a range was scored again though its part was there"
        scored = parts(out)
    code, told, err = nursery.run(*job, "--output", out)
    assert (code, err) == (0, "")
    assert_finished(out, undisturbed, scored)
    if scored:
        assert re.search(r"\([\d,]+ had been scored before\)", told)


STOPS = {
    "SIGTERM-start": (signal.SIGTERM, "start"),
    "SIGTERM-scoring": (signal.SIGTERM, "scoring"),
    "Ctrl-C-scoring": (signal.SIGINT, "scoring"),
    "Ctrl-C-writing": (signal.SIGINT, "writing"),
}
REACHED = {
    "start": lambda out: (out / "job.json").exists(),
    "scoring": lambda out: len(parts(out)) >= 2,
    "writing": lambda out: (out / "samples").exists(),
}
SAID = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


def stopped_in(phase, number, nursery, job, out):
    """A job that was sent a signal in a phase, its exit code and its output."""
    process = nursery.start(*job, "--output", out)
    wait_until(lambda: REACHED[phase](out), process)
    process.send_to_it_alone(number)
    return process, process.wait(), out


@pytest.mark.parametrize("stop", STOPS)
def test_a_job_that_is_told_to_stop_does_so_at_once_and_says_how_to_resume(nursery, job, undisturbed, tmp_path, stop):
    number, phase = STOPS[stop]
    tries = (stopped_in(phase, number, nursery, job, tmp_path / f"out-{attempt}") for attempt in range(TRIES))
    process, code, out = next(done for done in tries if done[1] != 0)  # the others were over before
    assert code == 128 + number
    assert said(process.stderr) == [f"beam-curator: {SAID[number]}; run the same command again to resume"]
    assert process.stdout.read_text() == ""
    scored = parts(out)
    assert nursery.run(*job, "--output", out)[0] == 0
    assert_finished(out, undisturbed, scored)


def said(stderr):
    """Lines of errors; of a command that a shell starts, there may be some of progress as well."""
    return [line for line in stderr.read_text().splitlines() if " images/s" not in line]


@pytest.mark.skipif("BEAM_CURATOR_KILLS" not in os.environ, reason="takes long: set BEAM_CURATOR_KILLS to run it")
@pytest.mark.parametrize("typed", [False, True], ids=["SIGTERM", "Ctrl-C while workers start"])
def test_a_job_with_several_processes_started_as_users_do_leaves_none_behind_when_told_to_stop(
    nursery, job, undisturbed, tmp_path, typed
):
    out, errors = tmp_path / "out", tmp_path / "stderr"
    more = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    with (
        errors.open("wb") as stderr,
        subprocess.Popen(
            [sys.executable, "-m", "pipelines.curate_images", *job, "--output", str(out), *more],
            stderr=stderr,
            start_new_session=True,
        ) as process,
    ):
        while not (len(living(process.pid)) >= 3 if typed else parts(out)) and process.poll() is None:
            time.sleep(0.01)
        group = living(process.pid)
        if typed:  # a terminal sends it to all
            time.sleep(1)
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.terminate()
        assert process.wait(HANG_SECONDS) == (130 if typed else 143)
    assert len(group) >= 3
    deadline = time.monotonic() + HANG_SECONDS
    while living(process.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not living(process.pid)
    what = "interrupted" if typed else "terminated"
    assert said(errors) == [f"beam-curator: {what}; run the same command again to resume"]
    scored = parts(out)
    assert nursery.run(*job, "--output", out)[0] == 0
    assert_finished(out, undisturbed, scored)


def living(group):
    """The processes of a group that have not ended."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found
