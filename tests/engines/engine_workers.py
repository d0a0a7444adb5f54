"""Beam's worker pool as on a machine of a cluster: an environment with only the wheel, in a directory of its own."""

from __future__ import annotations

import os
import pathlib

from tests.engines.engine_parts import WORKER
from tests.engines.engine_processes import Server, answers, free_port


class WorkerPool:
    """The pool; it starts a Python process for each worker that an engine asks for.

    Workers find the packages of the environment, and those that are installed in `packages`.
    """

    def __init__(self, directory: pathlib.Path, packages: pathlib.Path | None = None):
        self.port = free_port()
        # The pool starts `python`, whichever comes first on its path.
        env = {"PATH": f"{WORKER / 'bin'}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(packages or "")}
        argv = ["python", "-m", "apache_beam.runners.worker.worker_pool_main", "--service_port", self.port]
        self.server = Server("worker_pool", argv, directory, env)
        self.server.wait_until(lambda: answers(self.port))

    def stop(self) -> None:
        """Stops the pool and its workers."""
        self.server.stop()
