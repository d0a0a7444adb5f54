"""The line that a terminal shows while a job runs."""

from __future__ import annotations

import sys
import threading
import time
from typing import TextIO

from beam_curator.first_few import counted
from beam_curator.progress import BOARD, Done


def describe(done: Done, seconds: float, total_bytes: int) -> str:
    """The line: models being loaded, images done, images/s (of those scored now), failed, share done and time left."""
    loading = [f"loading {model}" for model in done.loading]
    if loading and not done.samples + done.embedded:
        return ", ".join(loading)
    rate = (done.scored + done.embedded) / seconds if seconds > 0 else 0.0
    failed = done.failed + done.embedded_failed
    images = counted(done.samples + done.embedded, "image")
    parts = [*loading, images, f"{rate_text(rate)} images/s", f"{failed:,} failed"]
    left_bytes = max(0, total_bytes - done.bytes - done.embedded_bytes)
    scored_bytes = done.scored_bytes + done.embedded_bytes
    if done.output_shards:
        parts.append(f"{counted(done.output_shards, 'output shard')} written")
    elif scored_bytes and left_bytes:
        parts.append(f"{1 - left_bytes / total_bytes:.0%}, {duration(seconds * left_bytes / scored_bytes)} left")
    return ", ".join(parts)


def rate_text(rate: float) -> str:
    """A rate with as many digits as it is worth: 0.42, 6.3, 1,204."""
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}" if rate >= 1 else f"{rate:.2f}"


def duration(seconds: float) -> str:
    """Seconds as people say them: 42s, 3m 20s, 2h 05m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


LOG_EVERY_SECONDS = 30.0
"""How often a plain line is written where there is no terminal."""


class ProgressLine:
    """Shows the board while a block runs: one live line on a terminal, plain lines now and then elsewhere."""

    def __init__(self, total_bytes: int, stream: TextIO | None = None) -> None:
        self._total_bytes = total_bytes
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._every = 0.5 if self._live else LOG_EVERY_SECONDS
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._started = time.monotonic()
        self._shown = ""

    def __enter__(self) -> ProgressLine:
        BOARD.reset()
        self._started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._live and self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            line = describe(BOARD.read(), time.monotonic() - self._started, self._total_bytes)
            if line != self._shown:
                self._stream.write(f"\r\x1b[K{line}" if self._live else f"{line}\n")
                self._stream.flush()
                self._shown = line
