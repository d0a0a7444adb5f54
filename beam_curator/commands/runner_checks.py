"""Runners that cannot run the job, found before any work: what is missing, and services where nobody answers."""

from __future__ import annotations

import re
import shutil
import socket
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    GoogleCloudOptions,
    JobServerOptions,
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    SparkRunnerOptions,
    StandardOptions,
    TypeOptions,
    WorkerOptions,
)
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
from apache_beam.runners.portability.flink_runner import MAGIC_HOST_NAMES, FlinkJarJobServer, FlinkRunner
from apache_beam.runners.portability.job_server import JavaJarJobServer
from apache_beam.runners.portability.portable_runner import PortableRunner
from apache_beam.runners.portability.spark_runner import SparkJarJobServer, SparkRunner
from apache_beam.runners.runner import create_runner
from apache_beam.utils.subprocess_server import JavaJarServer

from beam_curator.errors import UsageError, first_line
from beam_curator.storage import urls

CONNECT_SECONDS = 5.0
"""The seconds that somebody may take to answer; a cluster that takes longer is of no use either."""


def check_runner(options: PipelineOptions, places: Sequence[str]) -> None:
    """Looks at the runner's flags, and whether what they name is there.

    Args:
      options: of the pipeline.
      places: where the job reads and writes.

    Raises:
      UsageError: for the first thing that cannot work.
    """
    _check_type_checks(options)
    name = options.view_as(StandardOptions).runner
    if name is None:
        return
    try:
        runner = create_runner(name)
    except (ValueError, ImportError, AttributeError, TypeError) as error:
        raise UsageError(f"--runner {name}: {first_line(error)}") from error
    kind = type(runner).__name__
    if kind == "DataflowRunner":
        _check_dataflow(options, places)
    errors = PipelineOptionsValidator(options, runner).validate()
    if errors:
        raise UsageError(" ".join(" ".join(map(str, errors)).split()))
    if isinstance(runner, PortableRunner):
        _check_job_server(options, runner, kind)


def _check_type_checks(options: PipelineOptions) -> None:
    """Raises UsageError for a flag with which Beam holds what a step gives to one of its outputs against what is taken
    from another."""
    if options.view_as(TypeOptions).performance_runtime_type_check:
        raise UsageError(
            "--performance_runtime_type_check: Beam mistakes the outputs of steps that have several for one: give "
            "--runtime_type_check, which checks what every step gives"
        )


def _check_dataflow(options: PipelineOptions, places: Sequence[str]) -> None:
    google, setup = options.view_as(GoogleCloudOptions), options.view_as(SetupOptions)
    missing = [f"--{name}" for name in ("project", "region") if not getattr(google, name)]
    if not google.temp_location and not google.staging_location:
        missing.append("--temp_location")
    if missing:
        raise UsageError(f"DataflowRunner needs {' and '.join(missing)}: see docs/dataflow.md")
    check_places(places)
    image = options.view_as(WorkerOptions).sdk_container_image
    if not (image or setup.setup_file or setup.extra_packages or setup.requirements_file):
        raise UsageError(
            "workers of Dataflow need this software: give --sdk_container_image, of the image that the Dockerfile "
            "makes (see docs/dataflow.md)"
        )


def check_places(places: Sequence[str]) -> None:
    """Raises UsageError for a place on this machine."""
    for place in places:
        if not urls.is_remote(place):
            raise UsageError(
                f"{place}: workers of Dataflow do not reach this machine's files: give a place in a bucket"
            )


def _check_job_server(options: PipelineOptions, runner: PortableRunner, kind: str) -> None:
    endpoint = options.view_as(PortableOptions).job_endpoint
    if endpoint and endpoint != "embed":
        _check_answers("--job_endpoint", endpoint, "start the job server, or name another")
        return
    if isinstance(runner, FlinkRunner):
        flink = options.view_as(FlinkRunnerOptions)
        if flink.flink_master.strip() not in MAGIC_HOST_NAMES:
            _check_answers(
                "--flink_master", flink.flink_master, "start Flink's JobManager, or give the address of its REST"
            )
        _check_jar_server(
            options, FlinkJarJobServer(options), "--flink_job_server_jar", not flink.flink_submit_uber_jar
        )
    elif isinstance(runner, SparkRunner):
        spark = options.view_as(SparkRunnerOptions)
        if spark.spark_submit_uber_jar and spark.spark_rest_url:
            _check_answers("--spark_rest_url", spark.spark_rest_url, "start Spark's master, or name another")
        elif re.match("spark://", spark.spark_master_url):
            _check_answers("--spark_master_url", spark.spark_master_url, "start Spark's master, or name another")
        _check_jar_server(
            options, SparkJarJobServer(options), "--spark_job_server_jar", not spark.spark_submit_uber_jar
        )
    elif kind == "PortableRunner" and not endpoint:
        raise UsageError("--runner PortableRunner needs --job_endpoint HOST:PORT, of a job server that is there")


def _check_answers(flag: str, address: str, advice: str) -> None:
    """Raises UsageError unless somebody takes connections at HOST:PORT, with or without a scheme before it."""
    url = urllib.parse.urlsplit(address if "://" in address else f"//{address.strip()}")
    try:
        host, port = url.hostname, url.port or {"http": 80, "https": 443}.get(url.scheme)
    except ValueError as error:
        raise UsageError(f"{flag} {address}: {error}") from error
    if not host or not port:
        raise UsageError(f"{flag} {address}: write it as HOST:PORT")
    try:
        socket.create_connection((host, port), CONNECT_SECONDS).close()
    except OSError as error:
        raise UsageError(f"{flag} {address}: nobody answers there ({error.strerror or error}): {advice}") from error


def _check_jar_server(options: PipelineOptions, server: JavaJarJobServer, flag: str, is_started: bool) -> None:
    """The job server that Beam starts from a jar: java is there, and the jar, or it can be fetched."""
    job_server = options.view_as(JobServerOptions)
    java = job_server.job_server_java_launcher
    if is_started and shutil.which(java) is None:
        raise UsageError(
            f"this runner starts a job server with {java}, which is not on this machine: install Java 11 or 17, or "
            "name it with --job_server_java_launcher, or start a job server elsewhere and give --job_endpoint"
        )
    try:
        jar = server.path_to_jar()
    except ValueError as error:
        raise UsageError(f"{flag}: {first_line(error)}") from error
    cache = job_server.jar_cache_dir or JavaJarServer.JAR_CACHE
    if Path(jar).exists() or Path(cache, jar.rsplit("/", 1)[-1]).exists():
        return
    try:
        _check_answers(flag, jar, "")
        JavaJarServer.local_jar(jar, job_server.jar_cache_dir)
    except (UsageError, OSError, RuntimeError, ValueError) as error:
        why = first_line(error.__cause__ or error)
        raise UsageError(
            f"the jar of the job server cannot be fetched from {jar} ({why}): give {flag} FILE, as a machine with a "
            "network fetches it"
        ) from error
