"""A Flink session cluster of separate processes, and Beam's job server for it."""

from __future__ import annotations

import contextlib
import json
import pathlib
import socket
import urllib.request
from collections.abc import Mapping
from typing import Any

from tests.engines.engine_parts import FLINK_CLUSTER, FLINK_JOB_SERVER
from tests.engines.engine_processes import HOST, Forwarder, Server, free_port
from tests.engines.engine_workers import WorkerPool

JOB_MANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
TASK_MANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"

# What Flink 1.19 needs of Java 17; its own scripts pass the same.
OPENED = ("lang", "lang.reflect", "net", "io", "nio", "text", "time", "util", "util.concurrent",
          "util.concurrent.atomic", "util.concurrent.locks")  # fmt: skip
JAVA_17 = [
    *("--add-exports=java.base/sun.net.util=ALL-UNNAMED", "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED"),
    *(f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in OPENED),
]


class SessionCluster:
    """One JobManager and TaskManagers with two slots each, each a process of its own with a worker pool of its own.

    Two TaskManagers may not share a pool: both number their workers from 1, and the pool would stop the one's for the
    other. So the name `workers` leads each to its own, as `localhost` does on Kubernetes where the pool is a sidecar.
    The workers find the packages that are installed in `packages`, besides those of their environment.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        task_managers: int = 2,
        restarts: int = 0,
        packages: pathlib.Path | None = None,
    ):
        self.directory, self.workers_port, self._packages = directory, free_port(), packages
        self.pools: list[WorkerPool] = []
        self._forwarders: list[Forwarder] = []
        self.rest_port, rpc_port = free_port(), free_port()
        self._configure(rpc_port, restarts)
        self.servers: list[Server] = []
        try:
            self._start("jobmanager", JOB_MANAGER, 512)
            self.servers[0].wait_until(self._has_leader)
            for _ in range(task_managers):
                self.add_task_manager()
        except BaseException:
            self.stop()
            raise

    @property
    def master(self) -> str:
        """The value for --flink_master."""
        return f"{HOST}:{self.rest_port}"

    @property
    def flags(self) -> list[str]:
        """The flags that run a job here, with Python in the worker pools."""
        workers = ["--environment_type", "EXTERNAL", "--environment_config", f"workers:{self.workers_port}"]
        return [*self._flags, *workers, "--environment_cache_millis", "600000"]

    @property
    def loopback_flags(self) -> list[str]:
        """The flags that run a job here, with Python in the command that submits it."""
        return [*self._flags, "--environment_type", "LOOPBACK", "--environment_cache_millis", "600000"]

    @property
    def _flags(self) -> list[str]:
        return [*job_server_flags(), "--flink_master", self.master, "--parallelism", "2"]

    @property
    def task_managers(self) -> list[Server]:
        """The TaskManagers that were started, dead ones too."""
        return self.servers[1:]

    def add_task_manager(self) -> None:
        """Starts one more, and waits until the JobManager knows it."""
        number, before = len(self.servers), self.ask("overview")["taskmanagers"]
        self.pools.append(WorkerPool(self.directory / f"workers{number}", self._packages))
        host = f"127.0.1.{number}"
        self._forwarders.append(Forwarder(host, self.workers_port, self.pools[-1].port))
        hosts = self.directory / f"hosts{number}"
        hosts.write_text(f"{HOST} localhost {socket.gethostname()}\n{host} workers\n")
        server = self._start(f"taskmanager{number}", TASK_MANAGER, 1024, f"-Djdk.net.hosts.file={hosts}")
        server.wait_until(lambda: self.ask("overview")["taskmanagers"] > before)

    def ask(self, path: str) -> Mapping[str, Any]:
        """Asks the JobManager's REST interface."""
        with urllib.request.urlopen(f"http://{self.master}/{path}", timeout=30) as answer:
            return json.load(answer)

    def _has_leader(self) -> bool:
        with contextlib.suppress(OSError):  # refused, then 503
            return "taskmanagers" in self.ask("overview")
        return False

    def stop(self) -> None:
        """Stops all of it."""
        for server in reversed(self.servers):
            server.stop()
        for pool in self.pools:
            pool.stop()
        for forwarder in self._forwarders:
            forwarder.stop()

    def _start(self, name: str, main: str, heap_mb: int, *more: str) -> Server:
        # With Beam's classes in the cluster's own class path (a distribution's lib/), Python is kept between stages.
        class_path = f"{FLINK_CLUSTER}/*:{FLINK_JOB_SERVER}"
        log = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=info", "-Dorg.slf4j.simpleLogger.showDateTime=true"]
        argv = [
            "java",
            f"-Xmx{heap_mb}m",
            *JAVA_17,
            *log,
            *more,
            "-cp",
            class_path,
            main,
            "--configDir",
            self.directory,
        ]
        self.servers.append(Server(name, argv, self.directory))
        return self.servers[-1]

    def _configure(self, rpc_port: int, restarts: int) -> None:
        self.directory.mkdir(parents=True)
        settings = {
            "jobmanager.rpc.address": HOST,
            "jobmanager.rpc.port": rpc_port,
            "jobmanager.bind-host": HOST,
            "rest.address": HOST,
            "rest.bind-address": HOST,
            "rest.port": self.rest_port,
            "taskmanager.host": HOST,
            "taskmanager.bind-host": HOST,
            "taskmanager.numberOfTaskSlots": 2,
            "classloader.resolve-order": "parent-first",
            "cluster.evenly-spread-out-slots": "true",
            "restart-strategy.type": "fixed-delay" if restarts else "none",
            "restart-strategy.fixed-delay.attempts": max(restarts, 1),
            "restart-strategy.fixed-delay.delay": "1 s",
            "heartbeat.timeout": 10000,
            "heartbeat.interval": 2000,
            "io.tmp.dirs": self.directory / "tmp",
            # Flink's own scripts work these out of taskmanager.memory.process.size.
            "taskmanager.cpu.cores": 2,
            "taskmanager.memory.framework.heap.size": "128m",
            "taskmanager.memory.framework.off-heap.size": "128m",
            "taskmanager.memory.task.heap.size": "640m",
            "taskmanager.memory.task.off-heap.size": "64m",
            "taskmanager.memory.managed.size": "128m",
            "taskmanager.memory.network.min": "256m",
            "taskmanager.memory.network.max": "256m",
            "taskmanager.memory.jvm-metaspace.size": "256m",
            "taskmanager.memory.jvm-overhead.min": "192m",
            "taskmanager.memory.jvm-overhead.max": "192m",
        }
        text = "".join(f"{name}: {value}\n" for name, value in settings.items())
        (self.directory / "flink-conf.yaml").write_text(text)


def job_server_flags() -> list[str]:
    """Gives the flags that have Beam's FlinkRunner start our build of the job server instead of fetching one."""
    return ["--runner", "FlinkRunner", "--flink_version", "1.19", "--flink_job_server_jar", str(FLINK_JOB_SERVER)]
