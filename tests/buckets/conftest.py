"""Emulated buckets: one server a service for all tests, a bucket for each test."""

import logging

import boto3
import pytest
from apache_beam.internal.gcp import auth
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from beam_curator.commands import curate_images
from beam_curator.storage import files
from beam_curator.storage.buckets import gcs, objects
from examples import make_demo_shards
from tests.buckets import emulators
from tests.buckets.bucket_service import Service
from tests.buckets.job_output import TINY
from tests.buckets.proxy import Proxy, TokenServer

LONG = "buckets"
_KEYS = {"s3_access_key_id": "key", "s3_secret_access_key": "secret", "s3_region_name": "us-east-1"}


def pytest_collection_modifyitems(config, items):
    """The long tests run where they are asked for: `make test-buckets`."""
    if LONG in config.getoption("markexpr"):
        return
    long = [item for item in items if item.get_closest_marker(LONG)]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]


@pytest.fixture(scope="session")
def environment():
    """Changes of the environment for all tests here."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="session")
def s3_service():
    with emulators.running(emulators.moto) as port:
        proxy = Proxy(port)
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        client = boto3.session.Session().client("s3", endpoint_url=f"http://127.0.0.1:{port}", **keys)
        flags = [f"--{name}={value}" for name, value in {**_KEYS, "s3_endpoint_url": proxy.endpoint}.items()]
        yield Service("s3", proxy, flags, {}, client)
        proxy.close()


@pytest.fixture(scope="session")
def gs_service(environment, tmp_path_factory):
    tokens = TokenServer()
    key = tmp_path_factory.mktemp("key") / "key.json"
    tokens.key_file(key)
    with emulators.running(emulators.gcs) as port:
        proxy = Proxy(port)
        endpoint = {"api_endpoint": f"http://127.0.0.1:{port}"}
        client = storage.Client("test", credentials=AnonymousCredentials(), client_options=endpoint)
        reached_by = {
            "STORAGE_EMULATOR_HOST": proxy.endpoint,
            "GOOGLE_APPLICATION_CREDENTIALS": str(key),
        }
        for name, value in reached_by.items():
            environment.setenv(name, value)
        # Google's client asks elsewhere from where an account may be used, and warns that nobody answers.
        environment.setattr(logging.getLogger("urllib3.connectionpool"), "level", logging.ERROR)
        environment.setattr(auth._Credentials, "_credentials_init", False)  # what another test may have found
        yield Service("gs", proxy, [], reached_by, client, tokens)
        proxy.close()
    tokens.close()


@pytest.fixture(params=["gs", "s3"])
def service(request):
    """Each of the two services, as a process reaches it that was given its flags."""
    chosen = request.getfixturevalue(f"{request.param}_service")
    chosen.proxy.reset()
    before = FileSystems._pipeline_options
    files.use_options(PipelineOptions(chosen.flags))
    yield chosen
    chosen.proxy.reset()
    files.use_options(before)


@pytest.fixture
def small_parts(monkeypatch):
    """Uploads in the smallest parts that S3 takes."""
    monkeypatch.setattr(objects, "PART_BYTES", 5 << 20)
    monkeypatch.setattr(gcs, "PART_BYTES", 5 << 20)
    return 5 << 20


@pytest.fixture
def bucket(service):
    """The url of an empty bucket."""
    return service.new_bucket()


@pytest.fixture(scope="session")
def raw(tmp_path_factory):
    """A directory of demo shards: duplicates, broken images and a truncated shard among them."""
    directory = tmp_path_factory.mktemp("demo") / "raw"
    assert make_demo_shards.main(["--output", str(directory), "--shards", "2", "--samples_per_shard", "30"]) == 0
    return directory


@pytest.fixture(scope="session")
def local_output(raw, tmp_path_factory):
    """Runs the job on local files; gives the content of its output."""
    output = tmp_path_factory.mktemp("local") / "out"
    assert curate_images.main(["--input", f"{raw}/*.tar", "--output", str(output), *TINY]) == 0
    return {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}
