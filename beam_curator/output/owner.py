"""Tells who runs a job: user, host and process, so that another process can say whether that one still lives."""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import hashlib
import os
import pathlib
import socket

import psutil

_CLOCK_STEPS_SECONDS = 2.0
"""A process' start is counted from the machine's, which moves when its clock is set."""


@dataclasses.dataclass(frozen=True)
class Owner:
    """A process.

    Attributes:
      user: whose it is.
      host: the name of its machine.
      machine: what tells its machine, and the numbers of processes there, from all others: a host's name may be that of
        many containers, each with a process 1.
      pid: its number there.
      started: when it began, in seconds since 1970: numbers are given again.
    """

    user: str
    host: str
    machine: str
    pid: int
    started: float

    def is_here(self) -> bool:
        """Tells whether it is a process of this machine, so that `is_gone` can tell."""
        return self.machine == _machine()

    def is_this_process(self) -> bool:
        """Tells whether it is the process that asks."""
        return self.pid == os.getpid() and self.is_here() and not self.is_gone()

    def is_gone(self) -> bool:
        """Tells whether this process of this machine has ended."""
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
            return abs(process.create_time() - self.started) > _CLOCK_STEPS_SECONDS
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False

    def __str__(self) -> str:
        return f"{self.user} on {self.host} (pid {self.pid})"


def this_process() -> Owner:
    """The process that calls."""
    process = psutil.Process()
    return Owner(_user(), socket.gethostname(), _machine(), process.pid, process.create_time())


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else "somebody"


def _machine() -> str:
    parts = [socket.gethostname()]
    for path in ("/proc/sys/kernel/random/boot_id", "/etc/machine-id"):
        with contextlib.suppress(OSError):
            parts.append(pathlib.Path(path).read_text().strip())
    with contextlib.suppress(OSError):
        parts.append(str(pathlib.Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
