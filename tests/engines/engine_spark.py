"""Beam's job server for Spark, which runs Spark inside itself."""

from __future__ import annotations

import pathlib

from tests.engines.engine_parts import SPARK_JOB_SERVER
from tests.engines.engine_processes import HOST, Server, answers, free_port

# What Spark 3.5 needs of Java 17; spark-submit passes the same.
OPENED = (
    *(f"java.{name}" for name in ("lang", "lang.invoke", "lang.reflect", "io", "net", "nio", "util")),
    *("java.util.concurrent", "java.util.concurrent.atomic"),
    *("sun.nio.ch", "sun.nio.cs", "sun.security.action", "sun.util.calendar"),
)
JAVA_17 = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in OPENED]


class SparkJobServer:
    """The job server, ready for jobs."""

    def __init__(self, directory: pathlib.Path):
        self.port = free_port()
        ports = ["--job-port", self.port, "--artifact-port", free_port(), "--expansion-port", free_port()]
        argv = ["java", *JAVA_17, "-jar", SPARK_JOB_SERVER, "--job-host", HOST, *ports]
        self.server = Server("spark_job_server", argv, directory).wait_until(lambda: answers(self.port))

    @property
    def flags(self) -> list[str]:
        """The flags that run a job here, with Python in the command's own process."""
        return [
            "--runner",
            "PortableRunner",
            "--job_endpoint",
            f"localhost:{self.port}",
            "--environment_type",
            "LOOPBACK",
        ]

    def stop(self) -> None:
        """Stops it."""
        self.server.stop()
