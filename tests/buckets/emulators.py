"""Servers that stand for the services behind gs:// and s3://, on loopback, each in a process that ends by itself."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time

from tests.patience import HANG_SECONDS

LIFE_SECONDS = 4 * 3600  # longer than any run of the tests
_ENDS_BY_ITSELF = f"import os, signal, sys; signal.alarm({LIFE_SECONDS}); os.execv(sys.argv[1], sys.argv[1:])"


def moto(port):
    """Moto's S3 server."""
    return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]


def gcs(port):
    """fake-gcs-server where it is installed (GOBIN=... go install github.com/fsouza/fake-gcs-server@latest), else the
    emulator that pip installs, which lists all objects on one page."""
    address = f"127.0.0.1:{port}"
    go = os.environ.get("FAKE_GCS_SERVER")
    if go:
        flags = ["-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-log-level", "error"]
        return [shutil.which(go) or go, *flags, "-port", str(port), "-public-host", address]
    emulator = [sys.executable, "-m", "gcp_storage_emulator", "start", "--in-memory"]
    return [*emulator, "--host", "127.0.0.1", "--port", str(port)]


@contextlib.contextmanager
def running(command_on):
    """Runs a server on a free port, which it gives once the server answers."""
    with _free_port() as port:
        command = [sys.executable, "-c", _ENDS_BY_ITSELF, *command_on(port)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait_for(port, process)
            yield port
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def _free_port():
    """A port that is taken while the block runs, so that nobody is given it before the server, which takes seconds to
    start, listens there: it may, since neither minds another one (SO_REUSEADDR)."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def _wait_for(port, process):
    deadline = time.monotonic() + HANG_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the server ended with {process.returncode}"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10):
            return
        time.sleep(0.1)
    raise AssertionError("the server does not answer")
