"""How far the job is: what the workers of this process have done, and a line about it on a terminal or in a log."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import sys
import threading
import time
from collections.abc import Iterator
from typing import TextIO

from beam_curator.samples import ShardRange


@dataclasses.dataclass
class Done:
    """What has been done so far.

    Attributes:
      samples: samples whose scores are written, or were found written.
      failed: those of them that cannot be used.
      scored: those of them that this run scored.
      embedded: samples of ranges that are not written yet, but are embedded, or have failed.
      embedded_failed: those of them that have failed.
      bytes: of shards, that `samples` cover.
      scored_bytes: of shards, that `scored` cover.
      embedded_bytes: of shards, that `embedded` cover.
      output_shards: output shards that are written.
      loading: the models that are being loaded.
    """

    samples: int = 0
    failed: int = 0
    scored: int = 0
    embedded: int = 0
    embedded_failed: int = 0
    bytes: int = 0
    scored_bytes: int = 0
    embedded_bytes: int = 0
    output_shards: int = 0
    loading: tuple[str, ...] = ()


class Board:
    """Counts that the job's steps add to, shared by the threads of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done = Done()
        self._embedding: dict[ShardRange, tuple[int, int, int]] = {}
        self._loading: collections.Counter[str] = collections.Counter()

    def reset(self) -> None:
        """Begins a new job."""
        with self._lock:
            self._done, self._embedding = Done(), {}

    @contextlib.contextmanager
    def loading(self, model: str) -> Iterator[None]:
        """While the block runs, this model is being loaded."""
        with self._lock:
            self._loading[model] += 1
        try:
            yield
        finally:
            with self._lock:
                self._loading[model] -= 1

    def add_embedded(self, range: ShardRange, samples: int, size_bytes: int, failed: int = 0) -> None:
        """Some more samples of a range are embedded, or have failed; they take so many bytes of the shard."""
        with self._lock:
            before = self._embedding.get(range, (0, 0, 0))
            self._embedding[range] = (before[0] + samples, before[1] + size_bytes, before[2] + failed)

    def add(self, range: ShardRange, samples: int, failed: int, scored: bool) -> None:
        """A range is scored, or was found scored."""
        with self._lock:
            done, size_bytes = self._done, 0 if range.compression else range.end - range.start
            done.samples += samples
            done.failed += failed
            done.bytes += size_bytes
            if scored:
                self._embedding.pop(range, None)
                done.scored += samples
                done.scored_bytes += size_bytes

    def add_output_shard(self) -> None:
        """An output shard is written."""
        with self._lock:
            self._done.output_shards += 1

    def read(self) -> Done:
        """The counts as they are now."""
        with self._lock:
            embedded, embedded_bytes, failed = map(sum, zip((0, 0, 0), *self._embedding.values(), strict=True))
            return dataclasses.replace(
                self._done,
                embedded=embedded,
                embedded_bytes=embedded_bytes,
                embedded_failed=failed,
                loading=tuple(sorted(model for model, count in self._loading.items() if count)),
            )


BOARD = Board()
"""The board of this process: it shows what runs in it, as local runners do."""


def describe(done: Done, seconds: float, total_bytes: int) -> str:
    """The line: models being loaded, images done, images/s (of those scored now), failed, share done and time left."""
    loading = [f"loading {model}" for model in done.loading]
    if loading and not done.samples + done.embedded:
        return ", ".join(loading)
    rate = (done.scored + done.embedded) / seconds if seconds > 0 else 0.0
    failed = done.failed + done.embedded_failed
    parts = [*loading, f"{done.samples + done.embedded:,} images", f"{rate_text(rate)} images/s", f"{failed:,} failed"]
    left_bytes = max(0, total_bytes - done.bytes - done.embedded_bytes)
    scored_bytes = done.scored_bytes + done.embedded_bytes
    if done.output_shards:
        parts.append(f"{done.output_shards:,} output shards written")
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
