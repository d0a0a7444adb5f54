"""Azure's blobs, as Microsoft's own emulator has them: read and written by whole jobs."""

import os
import re
import subprocess
import sys

import pytest

from tests.ecosystem.conftest import ROOT

pytestmark = [pytest.mark.ecosystem, pytest.mark.slow]

AZURITE = "BEAM_CURATOR_AZURITE"
PACKAGES = ["adlfs", "azure-core", "azure-datalake-store", "azure-identity", "azure-storage-blob"]
PACKAGES += ["isodate", "msal", "msal-extensions"]
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # known to all


def _installed(environments):
    """Names the directory where `own_python_with` has the packages."""
    return environments / f"{'-'.join(PACKAGES)}-alone"


@pytest.fixture
def azure(tmp_path, monkeypatch):
    """Has adlfs reach an emulator of Azure's blobs."""
    program = os.environ.get(AZURITE)
    if not program:
        pytest.skip(f"azurite is no package of Python: {AZURITE} names its dist/src/blob/main.js")
    flags = ["--location", str(tmp_path), "--blobHost", "127.0.0.1", "--blobPort", "0", "--skipApiVersionCheck"]
    command = ["node", program, *flags, "--disableTelemetry", "--silent"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as emulator:
        try:
            lines = iter(emulator.stdout.readline, "")
            url = next(found[1] for line in lines if (found := re.search(r"listens on (http://\S+)", line)))
            account = f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={_KEY};"
            monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", f"{account}BlobEndpoint={url}/devstoreaccount1;")
            yield
        finally:
            emulator.terminate()


def test_azure_that_is_gone_is_asked_a_few_times(own_python_with, environments):
    """Without an emulator, by tests that are passed over where adlfs is not installed."""
    own_python_with(PACKAGES, "--version")
    path = f"{ROOT}{os.pathsep}{_installed(environments)}"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/storage/test_fsspec_clients.py"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "skipped" not in done.stdout


def test_jobs_read_and_write_azures_blobs(own_python_with, environments, curated, azure):
    assert own_python_with(PACKAGES, "--version").startswith("beam-curator")
    made = "import fsspec; fsspec.filesystem('az').mkdir('box')"
    installed = {**os.environ, "PYTHONPATH": str(_installed(environments))}
    subprocess.run([sys.executable, "-c", made], env=installed, check=True)
    flags = ["--clip_model", "tiny-untrained", "--min_aesthetic", "none", "--max_nsfw", "none", "--report", "false"]
    first = ["curate", "--input", curated.parent / "downloads", "--output", "az://box/first", *flags]
    assert "60 kept + 0 dropped + 0 failed = 60 seen" in own_python_with(PACKAGES, *first)
    second = ["curate", "--input", "az://box/first/", "--output", "az://box/second", *flags, "--min_width", "100"]
    told = own_python_with(PACKAGES, *second)
    assert "= 60 seen" in told
    assert "all as promised: 60 samples" in own_python_with(PACKAGES, "verify", "az://box/second")
    assert "(60 had been scored before)" in own_python_with(PACKAGES, *second)
