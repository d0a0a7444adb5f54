"""How far the job is: what the workers of this process have done, and a line about it on a terminal or in a log."""

from __future__ import annotations

import dataclasses
import sys
import threading
import time
from typing import TextIO

from beam_curator.samples import ShardRange


@dataclasses.dataclass
class Done:
    """What has been done so far: samples, bytes of shards, ranges."""

    samples: int = 0
    failed: int = 0
    scored: int = 0
    bytes: int = 0
    output_shards: int = 0


class Board:
    """Counts that the job's steps add to, shared by the threads of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done = Done()

    def reset(self) -> None:
        """Begins a new job."""
        with self._lock:
            self._done = Done()

    def add(self, range: ShardRange, samples: int, failed: int, scored: bool) -> None:
        """A range is scored, or was found scored."""
        with self._lock:
            done = self._done
            done.samples += samples
            done.failed += failed
            done.scored += samples if scored else 0
            done.bytes += (range.end - range.start) if not range.compression else 0

    def add_output_shard(self) -> None:
        """An output shard is written."""
        with self._lock:
            self._done.output_shards += 1

    def read(self) -> Done:
        """The counts as they are now."""
        with self._lock:
            return dataclasses.replace(self._done)


BOARD = Board()
"""The board of this process: it shows what runs in it, as local runners do."""


def describe(done: Done, seconds: float, total_bytes: int) -> str:
    """The line: images done, images/s, failed, time left."""
    rate = done.samples / seconds if seconds > 0 else 0.0
    parts = [f"{done.samples:,} images", f"{rate_text(rate)} images/s", f"{done.failed:,} failed"]
    share = min(1.0, done.bytes / total_bytes) if total_bytes else 0.0
    if done.output_shards:
        parts.append(f"{done.output_shards:,} output shards written")
    elif 0 < share < 1:
        parts.append(f"{share:.0%}, {duration(seconds * (1 - share) / share)} left")
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


class ProgressLine:
    """Shows the board while a block runs: one live line on a terminal, plain lines now and then elsewhere."""

    def __init__(self, total_bytes: int, stream: TextIO | None = None, log_every_seconds: float = 30.0) -> None:
        self._total_bytes = total_bytes
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._every = 0.5 if self._live else log_every_seconds
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
