"""Runners that cannot run the job: one line, exit code 2, before anything is read or written."""

import socket

import pytest
from apache_beam.utils.subprocess_server import JavaJarServer

from beam_curator.commands import curate_images, runner_checks
from beam_curator.storage.buckets import services
from examples import embed_images
from tests.tars import tar_bytes, write_shard

DATAFLOW = ["--runner", "DataflowRunner", "--project", "p", "--region", "r", "--temp_location", "gs://b/t", "--no_auth"]
IMAGE = ["--sdk_container_image", "image"]


@pytest.fixture
def refused(tmp_path, capsys):
    """Runs a command that has to be refused before any work; gives its one line."""
    shard = write_shard(tmp_path / "a.tar", tar_bytes([("a.jpg", b"a")]))

    def run(*argv, program=curate_images, places=("--input", shard.url, "--output", str(tmp_path / "out"))):
        capsys.readouterr()
        code = program.main([*places, "--clip_model", "tiny-untrained", *argv])
        said = capsys.readouterr()
        (line,) = said.err.splitlines()
        assert (code, said.out) == (2, "")
        assert not (tmp_path / "out").exists()
        return line

    return run


@pytest.fixture
def dead():
    """An address of this machine where nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize("program", [curate_images, embed_images])
def test_dataflow_with_a_local_place_is_refused(refused, program):
    assert "a.tar: workers of Dataflow do not reach this machine's files" in refused(*DATAFLOW, *IMAGE, program=program)


def test_dataflow_with_a_local_output_is_refused(refused, tmp_path):
    places = ["--input", "gs://b/*.tar", "--output", str(tmp_path / "out")]
    assert f"{tmp_path}/out: workers of Dataflow" in refused(*DATAFLOW, *IMAGE, places=places)


def test_dataflow_without_this_software_on_its_workers_is_refused(refused):
    places = ["--input", "gs://b/*.tar", "--output", "gs://b/out"]
    assert "give --sdk_container_image" in refused(*DATAFLOW, places=places)


def test_dataflow_says_all_that_is_missing(refused):
    line = refused("--runner", "DataflowRunner", "--no_auth")
    assert "DataflowRunner needs --project and --region and --temp_location" in line


def test_a_check_of_types_that_beam_gets_wrong_is_refused(refused):
    assert "give --runtime_type_check" in refused("--performance_runtime_type_check")


def test_an_unknown_runner_is_refused(refused):
    assert "--runner NoSuchRunner: " in refused("--runner", "NoSuchRunner")


@pytest.mark.parametrize("runner", ["PortableRunner", "FlinkRunner", "SparkRunner"])
def test_a_job_endpoint_where_nobody_answers_is_told_at_once(refused, dead, runner):
    line = refused("--runner", runner, "--job_endpoint", dead, "--environment_type", "LOOPBACK")
    assert f"--job_endpoint {dead}: nobody answers there (Connection refused)" in line


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_a_flink_master_where_nobody_answers_is_told_at_once(refused, dead, scheme):
    line = refused("--runner", "FlinkRunner", "--flink_master", scheme + dead, "--environment_type", "LOOPBACK")
    assert f"--flink_master {scheme}{dead}: nobody answers there" in line


@pytest.mark.parametrize("address", ["nothing", "host:port", ":1"])
def test_an_address_that_is_none_is_refused(refused, address):
    assert f"--job_endpoint {address}: " in refused("--runner", "PortableRunner", "--job_endpoint", address)


def test_a_portable_runner_needs_an_endpoint(refused):
    assert "needs --job_endpoint" in refused("--runner", "PortableRunner")


def test_a_jar_that_is_not_there_is_told(refused, tmp_path):
    line = refused("--runner", "FlinkRunner", "--flink_job_server_jar", str(tmp_path / "no.jar"))
    assert "--flink_job_server_jar: " in line
    assert "no.jar" in line


@pytest.mark.parametrize("runner", ["FlinkRunner", "SparkRunner"])
def test_a_jar_that_cannot_be_fetched_is_told_with_where_it_is(refused, tmp_path, dead, monkeypatch, runner):
    monkeypatch.setattr(JavaJarServer, "MAVEN_CENTRAL_REPOSITORY", f"http://{dead}/maven")
    line = refused("--runner", runner, "--jar_cache_dir", str(tmp_path / "none"))
    assert f"the jar of the job server cannot be fetched from http://{dead}/maven/" in line
    assert "Connection refused" in line


@pytest.mark.parametrize("runner", ["FlinkRunner", "SparkRunner"])
def test_a_runner_that_starts_a_job_server_needs_java(refused, runner):
    assert "no-java, which is not on this machine" in refused(
        "--runner", runner, "--job_server_java_launcher", "no-java"
    )


def test_what_answers_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as server:
        runner_checks._check_answers("--job_endpoint", f"127.0.0.1:{server.getsockname()[1]}", "")


@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_no_credentials_are_told_before_a_client_tries(refused, monkeypatch, tmp_path, scheme):
    pytest.importorskip({"gs": "google.cloud.storage", "s3": "boto3"}[scheme])
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "CLOUDSDK_CONFIG"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setattr(services, "_services", {})
    line = refused(places=["--input", f"{scheme}://bucket/a.tar", "--output", str(tmp_path / "out")])
    assert f"cannot list {scheme}://bucket/a.tar" in line
    assert {"gs": "gcloud auth application-default login", "s3": "AWS_ACCESS_KEY_ID"}[scheme] in line
