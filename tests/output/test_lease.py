"""The lease of an output directory: who has it, who may take it, and that nothing of it stays."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import threading
import time

import psutil
import pytest

from beam_curator.commands import interruption
from beam_curator.errors import JobError, UsageError
from beam_curator.output import lease, owner
from beam_curator.output.lease import GONE_SECONDS, SUBMITTED_SECONDS, Claim
from beam_curator.storage import clearing, conditional_writing, directories, files
from beam_curator.storage.temporary_names import LEASE, TEMPORARY
from tests.patience import HANG_SECONDS
from tests.warm_python import ROOT


def mine(output, token="mine", **changes):
    return Claim(str(output), token, owner.this_process(), **changes)


def standing(output, **changes):
    """Writes the lease of a job of a living process here, but for these fields."""
    found = Claim(str(output), "theirs", owner.this_process()).lease(time.time())
    content = dataclasses.asdict(dataclasses.replace(found, **changes))
    files.write_bytes(str(output), f"{TEMPORARY}/{LEASE}", json.dumps(content).encode())


def ended_process():
    """A process that has ended."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        started = psutil.Process(process.pid).create_time()
        process.stdin.close()
        process.wait()
    return dataclasses.replace(owner.this_process(), pid=process.pid, started=started)


def living_process():
    """The process that started this one."""
    process = psutil.Process(os.getppid())
    return dataclasses.replace(owner.this_process(), pid=process.pid, started=process.create_time())


def test_the_lease_is_there_while_a_job_runs_and_nothing_of_it_after(tmp_path):
    output = tmp_path / "out"
    with lease.held(mine(output)):
        assert lease.read(str(output)).token == "mine"
        assert directories.is_empty(str(output))
    assert list(output.rglob("*")) == []


def test_a_job_that_is_done_gives_it_back_also_where_workers_in_its_process_were_not_told(tmp_path):
    claim = mine(tmp_path)
    with lease.held(claim):
        lease.hold(claim)
    assert lease.read(str(tmp_path)) is None
    lease.let_go(claim)


def test_a_job_that_fails_gives_it_back(tmp_path):
    with pytest.raises(ZeroDivisionError), lease.held(mine(tmp_path)):
        raise ZeroDivisionError
    assert list(tmp_path.rglob("*")) == []


def test_one_who_comes_later_is_told_who_has_it_where_since_when_and_what_to_do(tmp_path):
    standing(tmp_path, owner=living_process(), since=time.time() - 300)
    with pytest.raises(UsageError) as raised:
        lease.acquire(mine(tmp_path))
    found = living_process()
    assert str(raised.value) == (
        f"--output {tmp_path} is in use: {found.user} on {found.host} (pid {found.pid}) has held it for 5 min: "
        "wait for the end of that process, or end it"
    )


def test_the_same_job_comes_in_again(tmp_path):
    first = lease.acquire(mine(tmp_path))
    assert lease.acquire(mine(tmp_path)) == first
    assert lease.confirm(mine(tmp_path)) == first


def test_a_job_whose_process_has_ended_holds_up_nobody(tmp_path):
    standing(tmp_path, owner=ended_process())
    assert lease.acquire(mine(tmp_path)).token == "mine"


def test_a_number_that_another_process_has_by_now_is_not_its_owner(tmp_path):
    standing(tmp_path, owner=dataclasses.replace(living_process(), started=time.time() - 1e6))
    assert lease.acquire(mine(tmp_path)).token == "mine"


def test_a_job_of_this_process_that_is_over_holds_up_nobody_and_one_that_goes_on_does(tmp_path):
    standing(tmp_path)
    assert lease.acquire(mine(tmp_path, "a")).token == "a"
    with lease.held(mine(tmp_path, "a")), pytest.raises(UsageError, match="is in use"):
        lease.acquire(mine(tmp_path, "b"))


@pytest.mark.parametrize("silent", [GONE_SECONDS, SUBMITTED_SECONDS])
@pytest.mark.parametrize("where", ["another machine", "elsewhere"])
def test_a_job_that_is_not_seen_here_has_it_until_it_was_silent_for_long(tmp_path, silent, where):
    changes = {"silent_seconds": silent, "tied": where == "another machine"}
    there = dataclasses.replace(ended_process(), machine="another", host="worker-7")
    standing(tmp_path, owner=there, renewed=time.time() - silent / 2, **changes)
    with pytest.raises(
        UsageError,
        match=r"on worker-7 .*last sign of life \d+ (s|min) ago: .* free in .*, or at once with WriteShards",
    ):
        lease.acquire(mine(tmp_path))
    standing(tmp_path, owner=there, renewed=time.time() - silent - 1, **changes)
    assert lease.acquire(mine(tmp_path)).token == "mine"


def test_it_is_taken_from_a_job_that_lives_if_that_is_asked_for_and_that_one_fails(tmp_path):
    with lease.held(mine(tmp_path, "first")):
        assert lease.acquire(mine(tmp_path, "second"), take_over=True).token == "second"
        assert not lease.renew(mine(tmp_path, "first"))
        with pytest.raises(JobError, match=r"is in use|was taken over"):
            lease.confirm(mine(tmp_path, "first"))
    assert lease.read(str(tmp_path)).token == "second", "what is another's is not given back"


def test_a_sign_of_life_is_told_and_ends_the_grace_of_a_submitted_job(tmp_path):
    claim = Claim(str(tmp_path), "submitted", None, SUBMITTED_SECONDS)
    before = lease.acquire(claim)
    assert lease.renew(claim)
    after = lease.read(str(tmp_path))
    assert (after.since, after.silent_seconds) == (before.since, GONE_SECONDS)
    assert after.renewed > before.renewed


def test_a_lease_that_is_gone_is_not_made_again_by_renewing(tmp_path):
    assert lease.renew(mine(tmp_path))
    assert list(tmp_path.rglob("*")) == []


def test_a_lease_that_is_given_back_while_it_is_renewed_is_gone(tmp_path, monkeypatch):
    claim = Claim(str(tmp_path), "one")
    lease.acquire(claim)
    releasing, written = threading.Thread(target=lease.release, args=[claim]), conditional_writing._new_file

    @contextlib.contextmanager
    def meanwhile(path, content):
        with written(path, content) as new:
            releasing.start()
            releasing.join(0.3)  # as far as it comes
            yield new

    monkeypatch.setattr(conditional_writing, "_new_file", meanwhile)
    lease.renew(claim)
    releasing.join()
    assert lease.read(str(tmp_path)) is None


def test_workers_of_a_process_that_has_ended_write_no_more(tmp_path):
    with pytest.raises(JobError, match="has ended"):
        lease.confirm(Claim(str(tmp_path), "orphan", ended_process()))
    assert list(tmp_path.rglob("*")) == []


def test_a_file_that_is_no_lease_holds_up_nobody_for_long(tmp_path):
    path = tmp_path / TEMPORARY / LEASE
    path.parent.mkdir()
    path.write_bytes(b"{")
    with pytest.raises(UsageError, match="was written just now"):
        lease.acquire(mine(tmp_path))
    os.utime(path, (0, 0))
    assert lease.acquire(mine(tmp_path)).token == "mine"


def test_temporaries_are_removed_around_it(tmp_path):
    lease.acquire(mine(tmp_path))
    (tmp_path / TEMPORARY / "half").write_bytes(b"")
    clearing.remove_temporaries(str(tmp_path))
    assert [path.name for path in (tmp_path / TEMPORARY).iterdir()] == [LEASE]


ASKING = """
import sys
from beam_curator.output import lease, owner
from beam_curator.errors import UsageError
print("ready", flush=True)
sys.stdin.readline()
try:
    lease.acquire(lease.Claim(sys.argv[1], str(owner.this_process().pid), owner.this_process()))
    print("got", flush=True)
except UsageError as error:
    print(error, flush=True)
sys.stdin.readline()
"""


@pytest.mark.slow
@pytest.mark.parametrize("dead", [False, True])
def test_of_several_processes_in_one_moment_one_has_it_also_where_a_dead_ones_stands(tmp_path, warm, dead):
    if dead:
        standing(tmp_path, owner=ended_process())
    command = [str(warm.programs / "python"), "-c", ASKING, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"env": environment, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(3)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 3
    for process in processes:
        print(file=process.stdin, flush=True)
    told = [process.stdout.readline() for process in processes]
    for process in processes:
        process.communicate("\n")
    assert sum(one == "got\n" for one in told) == 1
    assert sum("is in use" in one for one in told) == 2


def test_what_is_tied_is_given_back_while_the_thread_that_a_signal_stopped_has_its_locks(tmp_path, monkeypatch):
    monkeypatch.setattr(interruption, "_GIVING_SECONDS", HANG_SECONDS)
    with lease.held(mine(tmp_path)):
        with lease._lock, threading._active_limbo_lock:  # as in the middle of `held`, or of a thread's start
            interruption._give_back()
        assert lease.read(str(tmp_path)) is None
