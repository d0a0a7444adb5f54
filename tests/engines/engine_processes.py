"""Servers that a test starts: on loopback, on a free port, with a log of their own, and stopped by their id."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence

HOST = "127.0.0.1"
START_SECONDS = 120
LIFETIME_SECONDS = 3600  # after which a server ends, whatever became of those who started it


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return listener.getsockname()[1]


def answers(port: int) -> bool:
    """Tells whether somebody listens on a port."""
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


class Server:
    """A process in a group of its own, from its start to `stop`."""

    def __init__(
        self, name: str, argv: Sequence[object], directory: pathlib.Path, env: Mapping[str, str] | None = None
    ):
        directory.mkdir(parents=True, exist_ok=True)
        self.name, self.log = name, directory / f"{name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["timeout", str(LIFETIME_SECONDS), *(str(argument) for argument in argv)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=directory,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )

    def wait_until(self, ready: Callable[[], bool]) -> Server:
        """Waits until it is ready to be used; gives itself."""
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            assert self.process.poll() is None, f"{self.name} ended with {self.process.returncode}:\n{self.tail()}"
            assert time.monotonic() < deadline, f"{self.name} does not come up:\n{self.tail()}"
            time.sleep(0.1)
        return self

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-3000:]

    def kill(self) -> None:
        """SIGKILL to it and to all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL to what is left of it."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=10)
        self.kill()


class Forwarder:
    """Passes connections to `host:port` on to `to_port`, from a thread: a name then leads each to another server."""

    def __init__(self, host: str, port: int, to_port: int):
        self._to_port, self._loop = to_port, asyncio.new_event_loop()
        self._loop.run_until_complete(asyncio.start_server(self._connect, host, port))
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            onward_reader, onward_writer = await asyncio.open_connection(HOST, self._to_port)
            await asyncio.gather(self._copy(reader, onward_writer), self._copy(onward_reader, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    def stop(self) -> None:
        """Closes the address."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
