"""Builds what the engines need: jars by Maven, Prism by Go, and an environment with only our wheel.

All of it is kept in .engines/, and built again when what it is built from has changed.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence

ROOT = pathlib.Path(__file__).resolve().parents[2]
MAVEN = pathlib.Path(__file__).parent / "maven"
ENGINES = ROOT / ".engines"
FLINK_CLUSTER = ENGINES / "built" / "flink-cluster" / "lib"
FLINK_JOB_SERVER = ENGINES / "built" / "flink-job-server" / "flink-job-server.jar"
SPARK_JOB_SERVER = ENGINES / "built" / "spark-job-server" / "spark-job-server.jar"
PRISM = ENGINES / "prism"
WORKER = ENGINES / "worker"
BUILD_SECONDS = 1500
INSTALL = {
    "java": "a Java 17 runtime (on Debian: apt-get install openjdk-17-jre-headless)",
    "mvn": "Maven 3.8 or later (on Debian: apt-get install maven)",
    "go": "Go 1.25 or later (https://go.dev/dl)",
}


class MissingToolError(Exception):
    """A program that the engines need is not there."""


def require(*programs: str) -> None:
    """Raises MissingToolError for the first program that is not on the path, saying what to install."""
    for program in programs:
        if not shutil.which(program):
            raise MissingToolError(f"{program} is not on the PATH: install {INSTALL[program]}")


def run(argv: Sequence[object], **more: object) -> None:
    """Runs a build step; what it prints is shown when it fails."""
    done = subprocess.run(
        [str(argument) for argument in argv],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=BUILD_SECONDS, **more,  # type: ignore[call-overload]
    )  # fmt: skip
    assert done.returncode == 0, f"{' '.join(str(argument) for argument in argv)} failed:\n{done.stdout[-4000:]}"


def built_once(name: str, key: str, build: Callable[[], None]) -> None:
    """Builds a thing unless it stands there, built from what has the same key."""
    mark = ENGINES / f"{name}.built"
    if mark.exists() and mark.read_text() == key:
        return
    ENGINES.mkdir(exist_ok=True)
    mark.unlink(missing_ok=True)
    build()
    mark.write_text(key)


def build_jars() -> None:
    """The job servers of Flink and Spark, and Flink's own jars."""
    require("java", "mvn")
    poms = b"".join(path.read_bytes() for path in sorted(MAVEN.rglob("pom.xml")))
    built_once("jars", hashlib.sha256(poms).hexdigest(), lambda: run(["mvn", "-B", "-ntp", "-f", MAVEN, "package"]))


def build_prism() -> None:
    """Prism of the same version as the Beam that is installed."""
    require("go")
    version = importlib.metadata.version("apache-beam")
    module = f"github.com/apache/beam/sdks/v2/go/cmd/prism@v{version}"
    built_once("prism", version, lambda: run(["go", "install", module], env={**os.environ, "GOBIN": str(ENGINES)}))


def build_worker() -> pathlib.Path:
    """An environment with the project's wheel and what it depends on, and nothing else; gives its Python."""
    uv, python = pathlib.Path(sys.executable).parent / "uv", WORKER / "bin" / "python"
    constraints = ROOT / "constraints.txt"

    def install_dependencies() -> None:
        run([uv, "venv", "--clear", "--python", sys.executable, WORKER])
        run([uv, "pip", "install", "--python", python, "--constraint", constraints, "-r", ROOT / "pyproject.toml"])

    declared = (ROOT / "pyproject.toml").read_bytes() + constraints.read_bytes() + sys.version.encode()
    built_once("worker", hashlib.sha256(declared).hexdigest(), install_dependencies)
    wheels = ENGINES / "wheel"
    shutil.rmtree(wheels, ignore_errors=True)
    run([uv, "build", "--out-dir", wheels, ROOT])  # by way of the sdist, so that nothing stale is in it
    run([uv, "pip", "install", "--python", python, "--no-deps", "--reinstall", *wheels.glob("*.whl")])
    return python
