"""A command in processes of its own: how long it takes, and what it and all its descendants use."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil

_SAMPLE_SECONDS = 0.05


@dataclass(frozen=True)
class ProcessRun:
    """The time, memory and output of a command.

    Attributes:
      seconds: from its start to its end.
      cpu_seconds: of all its processes.
      peak_bytes: the most memory (RSS) that all its processes had at a time.
      output: what it printed.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    output: str


class CommandFailedError(Exception):
    """A command that ended with another exit code than 0; the message says which, and its last lines."""


def run(argv: Sequence[str], env: Mapping[str, str] | None = None, limit_seconds: float | None = None) -> ProcessRun:
    """Runs a command to its end.

    Args:
      argv: the command.
      env: variables of its environment, beside this one's.
      limit_seconds: after which it is ended.

    Raises:
      CommandFailedError: with its last lines.
      subprocess.TimeoutExpired: when it is ended.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        list(argv), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **(env or {})}
    )
    watch = _Watch(process.pid)
    try:
        output, _ = process.communicate(timeout=limit_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        watch.stop()
        watch.kill_left_over()
        raise
    seconds = time.perf_counter() - started
    watch.stop()
    watch.kill_left_over()
    if process.returncode:
        last_lines = "\n".join(output.strip().splitlines()[-15:])
        raise CommandFailedError(f"{' '.join(argv)}\nended with exit code {process.returncode}:\n{last_lines}")
    return ProcessRun(seconds, watch.cpu_seconds, watch.peak_bytes, output)


def run_python(argv: Sequence[str]) -> ProcessRun:
    """Runs a command of this Python."""
    return run([sys.executable, *argv])


class _Watch:
    """Looks at a process and its descendants 20 times a second."""

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._cpu: dict[psutil.Process, float] = {}
        self._root = psutil.Process(pid)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @property
    def cpu_seconds(self) -> float:
        """The CPU time of all processes that were seen, when they were last seen."""
        return sum(self._cpu.values())

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def kill_left_over(self) -> None:
        """Ends descendants that outlive the command (Ray leaves some): they would burden what is measured next."""
        for process in self._cpu:
            with contextlib.suppress(psutil.Error):  # which is also raised where another has its pid by now
                process.kill()
        psutil.wait_procs(list(self._cpu), timeout=5)

    def _watch(self) -> None:
        while not self._stopped.wait(_SAMPLE_SECONDS):
            self.peak_bytes = max(self.peak_bytes, self._sample())

    def _sample(self) -> int:
        try:
            processes = [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return 0
        resident = 0
        for process in processes:
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    self._cpu[process] = times.user + times.system
                    resident += process.memory_info().rss
            except psutil.Error:
                continue  # it has ended in between
        return resident
