"""The worker processes of `--direct_running_mode multi_processing`: the death of one ends the job.

Beam's FnApiRunner notices that a worker has died, and goes on waiting for it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shlex
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import wait as wait_for
from typing import Any, TypeVar

import grpc
import psutil
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.environments import SubprocessSDKEnvironment, python_sdk_capabilities

from beam_curator.errors import JobError
from beam_curator.temporaries import temporary_file

_OPTIONS_FILE = "PIPELINE_OPTIONS_FILE"
"""The variable by which Beam's worker process looks for options first."""

_BEAMS_THREAD = "run_worker"  # SubprocessSdkWorkerHandler's: it waits for one worker, and raises when that one failed
_BEAMS_WORDS = re.compile(r"Worker subprocess exited with return code (-?\d+)")
_CONNECTION_LOST = "Channel closed prematurely"  # where a worker ended in the middle of its work, with exit code 0
_PATIENCE_SECONDS = 5.0
_LOOK_SECONDS = 0.5
_END_SECONDS = 30.0
"""Within this time of the first worker's end by itself, the pipeline has ended too, or never will."""

T = TypeVar("T")


@contextlib.contextmanager
def options_passed_on(options: PipelineOptions) -> Iterator[None]:
    """Has worker processes that are started inside the block take the job's options: Beam starts them without, and they
    would not know how to reach buckets."""
    text = json.dumps(options.get_all_options(drop_default=True), default=str)
    with temporary_file(text, ".json") as path:
        os.environ[_OPTIONS_FILE] = path
        try:
            yield
        finally:
            del os.environ[_OPTIONS_FILE]


@contextlib.contextmanager
def workers_deaf_to_ctrl_c() -> Iterator[None]:
    """Starts worker processes, inside the block, that do not hear Ctrl-C, which a terminal sends to all: whoever
    started them ends them, and they would lament in their own start.

    A trap of the shell that Beam starts them by outlives it, as no signal that is blocked does. Beam asks for the
    interpreter by its bare path, which is no command where there is a space in it.
    """
    before = SubprocessSDKEnvironment.__dict__["from_command_string"]

    def deaf(command_string: str) -> SubprocessSDKEnvironment:
        arguments = command_string.removeprefix(sys.executable)
        return SubprocessSDKEnvironment(
            f"trap '' INT; exec {shlex.quote(sys.executable)}{arguments}", python_sdk_capabilities()
        )

    SubprocessSDKEnvironment.from_command_string = staticmethod(deaf)
    try:
        yield
    finally:
        SubprocessSDKEnvironment.from_command_string = before


def run_watched(run: Callable[[], T], output: str) -> T:
    """Calls `run`, which runs a pipeline to its end with worker processes, and gives its result.

    It runs in a thread of its own: when a worker dies, that thread waits for ever, and is left alone.

    Raises:
      JobError: when a worker dies. The other workers are killed.
    """
    end: Future[T] = Future()

    with _deaths_told(lambda code: _end(end, JobError(_line(code, output)))) as die:

        def go() -> None:
            try:
                result = run()
            except BaseException as error:
                if _CONNECTION_LOST in str(error):
                    wait_for([end], timeout=_PATIENCE_SECONDS)  # a death that is told as well says more
                    die(0)
                _end(end, error)
            else:
                with contextlib.suppress(InvalidStateError):
                    end.set_result(result)

        threading.Thread(target=go, name="pipeline", daemon=True).start()
        if not _ends(end):
            die(0)
        return end.result()


def _ends(end: Future[T]) -> bool:
    """Waits for the end, however long; False if a worker has ended as if all were done, and the pipeline does not.

    What calls exit(0) in a worker, a rule say, looks so: Beam takes it for no failure, and waits for ever.
    """
    workers: set[threading.Thread] = set()
    deadline = math.inf
    while not wait_for([end], timeout=_LOOK_SECONDS).done:
        workers |= _beams_threads()
        if deadline == math.inf and not all(worker.is_alive() for worker in workers):
            deadline = time.monotonic() + _END_SECONDS
        if time.monotonic() > deadline:
            return False
    return True


def _beams_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == _BEAMS_THREAD}


def _end(end: Future[T], error: BaseException) -> None:
    """Ends the waiting with an error, unless it has ended: of a death and the pipeline's own end the first counts."""
    with contextlib.suppress(InvalidStateError):
        end.set_exception(error)


@contextlib.contextmanager
def _deaths_told(died: Callable[[int], None]) -> Iterator[Callable[[int], None]]:
    """Calls `died`, while the block runs, with the exit code of each worker process that fails. Gives what tells of a
    death that is noticed otherwise.

    After a death the other workers are killed, and what Beam's threads raise because of it is not shown. Some do so
    before the death is known: their connections broke first.
    """
    before, others = threading.excepthook, descendants()
    deaths = threading.Event()
    broken: list[threading.ExceptHookArgs] = []

    def die(code: int) -> None:
        deaths.set()
        died(code)

    def hook(raised: threading.ExceptHookArgs) -> None:
        told = _BEAMS_WORDS.search(str(raised.exc_value))
        if told and raised.thread is not None and raised.thread.name == _BEAMS_THREAD:
            die(int(told[1]))
        elif isinstance(raised.exc_value, grpc.RpcError):
            broken.append(raised)
        elif not deaths.is_set():
            before(raised)

    threading.excepthook = hook
    try:
        yield die
    except KeyboardInterrupt:  # of a caller in Python: the workers do not hear it, and are of no use any more
        deaths.set()
        raise
    finally:
        if deaths.is_set():
            _end_workers(others)
            threading.excepthook = _but_of(threading.enumerate(), before)
        else:
            threading.excepthook = before
            for raised in broken:
                before(raised)


def _but_of(
    threads: Collection[threading.Thread], hook: Callable[[threading.ExceptHookArgs], Any]
) -> Callable[..., Any]:
    """The hook, but of what these threads raise, nothing is shown: Beam's may lament a lost worker when all is over."""
    lost = weakref.WeakSet(threads)
    return lambda raised: None if raised.thread in lost else hook(raised)


def _end_workers(spared: Collection[psutil.Process]) -> None:
    """Kills the workers, also those that are being started just now, until nobody waits for one."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        kill_descendants(spared)
        waiting = _beams_threads()
        if not waiting:
            return
        waiting.pop().join(0.1)


def _line(code: int, output: str) -> str:
    """The message about a worker's death."""
    number = -code if code < 0 else code - 128  # a shell between us and the worker says it so
    how = f"exit code {code}"
    if number in set(signal.Signals):
        how = f"killed by {signal.Signals(number).name}" + (": out of memory?" if number == signal.SIGKILL else "")
    return f"a worker process died ({how}); what is scored is kept in {output}: run the same command again to resume"


def descendants() -> list[psutil.Process]:
    """The processes that this one started, and theirs."""
    try:
        return psutil.Process().children(recursive=True)
    except psutil.Error:  # one ended while they were listed
        return []


def kill_descendants(spared: Collection[psutil.Process] = ()) -> None:
    """Kills the processes that this one started, and theirs, but for those that are to be spared."""
    for process in reversed(descendants()):  # children first: they have no time to lament their parents
        if process not in spared:
            with contextlib.suppress(psutil.Error):
                process.kill()
