"""Ctrl-C and SIGTERM: a command stops at once, and says how to go on."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from beam_curator import temporaries
from beam_curator.commands import unread_output, worker_deaths
from beam_curator.commands.status_line import clearing
from beam_curator.output import lease

_GIVING_SECONDS = 2.0
_WHAT = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
_RESUME = "run the same command again to resume"
_ELSEWHERE = f"the job may go on where it runs: cancel it there, or wait for its end, then {_RESUME}"
_advice = [_RESUME]


def line(program: str, number: int = signal.SIGINT) -> str:
    """The line that a command prints when it is told to stop."""
    return f"{program}: {_WHAT[signal.Signals(number)]}; {_advice[-1]}"


@contextlib.contextmanager
def job_runs(elsewhere: bool) -> Iterator[None]:
    """Lets a stopped command say, while the block runs, what is true of a job that runs elsewhere, if it does."""
    _advice.append(_ELSEWHERE if elsewhere else _RESUME)
    try:
        yield
    finally:
        _advice.pop()


def end_process(program: str, code: int) -> NoReturn:
    """Ends this process with this exit code, once all that it printed is out; if it cannot be, that is a failure.

    For a command that has written nothing: at the end of an interpreter, native libraries (Arrow, gRPC, torch) take
    down threads and memory of theirs, and have aborted in it, which made a failure of an answer that was given.
    """
    code = unread_output.exit_code(program, code)
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(code)


def _give_back() -> None:
    """Gives output directories back, in a thread that is not waited for without end: this one may be in the middle of
    anything, and a bucket may not answer. What is not given back, the next job here takes.

    Not a `threading.Thread`: its start waits for a lock that this thread may be holding, as it may any other.
    """
    given = _thread.allocate_lock()
    given.acquire()

    def give() -> None:
        try:
            lease.release_what_is_tied()
        finally:
            given.release()

    _thread.start_new_thread(give, ())
    given.acquire(timeout=_GIVING_SECONDS)


@contextlib.contextmanager
def ends_process(program: str) -> Iterator[None]:
    """Ends this process with one line and exit code 130 or 143 on Ctrl-C and SIGTERM, while the block runs.

    Nothing is unwound. Raising instead would not do: it happens wherever the main thread is, which may be inside a
    bundle, where Beam makes an ordinary failure of it; and Python would then wait for the bundles of other threads.
    What is half-written stays under `_tmp`, as after SIGKILL, and the next run removes it.
    """

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        clear = clearing(sys.stderr)
        # Not print(): the main thread may be in the middle of one, and buffered writers cannot be entered twice.
        with contextlib.suppress(OSError):
            os.write(2, f"{clear}{line(program, number)}\n".encode())
        worker_deaths.kill_descendants()  # which would lament at length
        temporaries.remove_all()
        _give_back()
        os._exit(128 + number)

    # One that whoever started us has ignored (nohup, a script's background) stays ignored.
    before = {number: signal.getsignal(number) for number in _WHAT if signal.getsignal(number) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
