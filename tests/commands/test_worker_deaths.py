"""Pipelines with worker processes: their results, their errors, and the death of a worker.

Threads stand for Beam's, which wait for a worker each, but in the last test; tests/integration/test_worker_deaths.py
has whole jobs.
"""

import re
import signal
import subprocess
import sys
import threading
import time

import apache_beam as beam
import grpc
import psutil
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from beam_curator.commands import worker_deaths
from beam_curator.commands.worker_deaths import run_watched, workers_deaf_to_ctrl_c
from beam_curator.errors import JobError
from tests.patience import HANG_SECONDS


def wait_for_worker(code):
    """Does in a thread what Beam's thread does when its worker has ended with an exit code."""

    def raise_as_beam_does():
        raise RuntimeError(f"Worker subprocess exited with return code {code}")

    return threading.Thread(target=raise_as_beam_does, name="run_worker")


def hang_after_death(code):
    def run():
        wait_for_worker(code).start()
        threading.Event().wait()

    return run


def test_what_the_pipeline_gives_comes_back():
    assert run_watched(lambda: 7, "out") == 7


def test_what_the_pipeline_raises_comes_back():
    with pytest.raises(ZeroDivisionError):
        run_watched(lambda: 1 // 0, "out")


@pytest.mark.parametrize(
    ("code", "how"),
    [
        (-9, "killed by SIGKILL: out of memory?"),
        (137, "killed by SIGKILL: out of memory?"),
        (-11, "killed by SIGSEGV"),
        (1, "exit code 1"),
        (255, "exit code 255"),
    ],
)
def test_a_dead_worker_is_one_line_though_the_pipeline_waits_for_ever(code, how, capsys):
    with pytest.raises(JobError) as raised:
        run_watched(hang_after_death(code), "gs://b/out")
    assert str(raised.value) == (
        f"a worker process died ({how}); what is scored is kept in gs://b/out: run the same command again to resume"
    )
    assert capsys.readouterr().err == ""


@pytest.fixture
def looking_often(monkeypatch):
    monkeypatch.setattr(worker_deaths, "_LOOK_SECONDS", 0.05)


def once_workers_are_seen(monkeypatch):
    """An event: one of Beam's threads was seen alive."""
    seen, look = threading.Event(), worker_deaths._beams_threads

    def looking():
        found = look()
        if found:
            seen.set()
        return found

    monkeypatch.setattr(worker_deaths, "_beams_threads", looking)
    return seen


def test_a_worker_that_ends_as_if_all_were_done_is_one_line(looking_often, monkeypatch):
    monkeypatch.setattr(worker_deaths, "_END_SECONDS", 0.0)
    hang = threading.Event()

    def run():
        threading.Thread(target=seen.wait, name="run_worker").start()
        hang.wait()

    seen = once_workers_are_seen(monkeypatch)
    with pytest.raises(JobError, match=r"a worker process died \(exit code 0\); what is scored is kept"):
        run_watched(run, "out")
    hang.set()


@pytest.mark.parametrize(("told", "how"), [(None, "exit code 0"), (-9, "killed by SIGKILL: out of memory?")])
def test_a_worker_that_ends_in_the_middle_of_its_work_is_one_line(monkeypatch, told, how, capsys):
    monkeypatch.setattr(worker_deaths, "_PATIENCE_SECONDS", 0.1 if told is None else HANG_SECONDS)

    def run():
        if told is not None:
            threading.Timer(0.1, wait_for_worker(told).start).start()
        raise RuntimeError("Channel closed prematurely.")

    with pytest.raises(JobError, match=rf"a worker process died \({re.escape(how)}\); what is scored is kept"):
        run_watched(run, "out")
    assert capsys.readouterr().err == ""


def test_workers_that_end_with_the_pipeline_are_no_deaths(looking_often, monkeypatch):
    monkeypatch.setattr(worker_deaths, "_END_SECONDS", HANG_SECONDS)
    seen = once_workers_are_seen(monkeypatch)

    def run():
        worker = threading.Thread(target=seen.wait, name="run_worker")
        worker.start()
        worker.join()
        time.sleep(0.2)  # for a few looks more
        return 7

    assert run_watched(run, "out") == 7


def test_workers_do_not_hear_ctrl_c_also_of_an_interpreter_with_a_space_in_its_path(monkeypatch, tmp_path):
    (tmp_path / "a b").mkdir()
    interpreter = tmp_path / "a b" / "python"
    interpreter.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    told = "import signal; print(signal.getsignal(signal.SIGINT) == signal.SIG_IGN)"
    before = SubprocessSDKEnvironment.__dict__["from_command_string"]
    with workers_deaf_to_ctrl_c():
        worker = SubprocessSDKEnvironment.from_command_string(f'{interpreter} -c "{told}"')
    assert subprocess.check_output(worker.command_string, shell=True) == b"True\n"
    assert SubprocessSDKEnvironment.__dict__["from_command_string"] is before


def test_workers_are_ended_by_a_caller_who_is_interrupted():
    started = []

    def run():
        started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"]))
        signal.raise_signal(signal.SIGINT)
        threading.Event().wait(HANG_SECONDS)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which some CI runners have ignored
    try:
        with pytest.raises(KeyboardInterrupt):
            run_watched(run, "out")
    finally:
        signal.signal(signal.SIGINT, before)
    assert started[0].wait(HANG_SECONDS) == -9


def test_other_workers_die_with_it_and_other_processes_do_not():
    sleep = [sys.executable, "-c", "import time; time.sleep(3600)"]
    started = []

    def run():
        started.append(subprocess.Popen(sleep))
        hang_after_death(-9)()

    with subprocess.Popen(sleep) as other:
        with pytest.raises(JobError):
            run_watched(run, "out")
        assert started[0].wait(HANG_SECONDS) == -9
        assert psutil.Process(other.pid).is_running()
        assert other.poll() is None
        other.kill()


def broken_connection():
    raise grpc.RpcError("Stream removed")


def slip():
    raise ValueError("a slip")


def started(target):
    thread = threading.Thread(target=target)
    thread.start()
    thread.join()


def test_connections_that_a_death_broke_are_not_shown(capsys):
    def run():
        started(broken_connection)
        hang_after_death(-9)()

    with pytest.raises(JobError):
        run_watched(run, "out")
    assert capsys.readouterr().err == ""


def test_what_threads_of_a_job_that_lost_a_worker_raise_when_it_is_over_is_not_shown(monkeypatch):
    shown = []
    monkeypatch.setattr(threading, "excepthook", lambda raised: shown.append(str(raised.exc_value)))
    over = threading.Event()
    late = threading.Thread(target=lambda: (over.wait(), broken_connection()), daemon=True)

    def run():
        late.start()
        hang_after_death(-9)()

    with pytest.raises(JobError):
        run_watched(run, "out")
    over.set()
    late.join()
    assert shown == []
    started(slip)  # of another thread, it is
    assert shown == ["a slip"]


@pytest.mark.parametrize(("target", "said"), [(broken_connection, "Stream removed"), (slip, "a slip")])
def test_what_other_threads_raise_is_shown_and_ends_nothing(monkeypatch, target, said):
    shown = []
    monkeypatch.setattr(threading, "excepthook", lambda raised: shown.append(str(raised.exc_value)))
    assert run_watched(lambda: started(target) or 7, "out") == 7
    assert shown == [said]


def test_a_worker_of_beams_that_cannot_start_is_one_line():
    command = f"{sys.executable} -c 'raise SystemExit(3)'"
    runner = FnApiRunner(default_environment=SubprocessSDKEnvironment.from_command_string(command))
    pipeline = beam.Pipeline(runner=runner)
    _ = pipeline | beam.Create([1])
    with pytest.raises(JobError, match=r"^a worker process died \(exit code 3\); what is scored is kept in out"):
        run_watched(pipeline.run, "out")
