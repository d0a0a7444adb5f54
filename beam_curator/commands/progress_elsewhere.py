"""How far a job is that does not run in this process: from what its worker processes write, or its runner counts."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from apache_beam.metrics import MetricsFilter
from apache_beam.metrics.metric import MetricResults
from apache_beam.runners.runner import PipelineResult

from beam_curator.commands import progress_line
from beam_curator.commands.progress_line import ProgressLine, duration, rate_text
from beam_curator.first_few import counted
from beam_curator.progress import BOARD, SHARED_IN, read_done
from beam_curator.transforms.metrics import NAMESPACE

ASK_SECONDS = 10.0
"""How often a runner elsewhere is asked, where a terminal shows the answer."""


@contextlib.contextmanager
def shown_of_processes(total_bytes: int, total_shards: int) -> Iterator[None]:
    """While the block runs, worker processes that it starts say how far they are, and a line shows it."""
    with tempfile.TemporaryDirectory(prefix="beam-curator-progress-", ignore_cleanup_errors=True) as directory:
        os.environ[SHARED_IN] = directory
        try:
            with ProgressLine(total_bytes, total_shards=total_shards, read=lambda: read_done(directory)):
                yield
        finally:
            del os.environ[SHARED_IN]


def metrics_now(result: PipelineResult) -> MetricResults:
    """What a runner counts by now: the result of a portable job (Flink, Spark, Prism) remembers its first answer."""
    if getattr(result, "_metrics", None) is not None:
        result._metrics = None
    return result.metrics()


class RunnersCounts:
    """What a runner tells of a job as it runs, as one line.

    Attributes:
      result: what running the pipeline gave, which is asked for metrics.
      runner: what the runner is called.
    """

    def __init__(self, result: PipelineResult, runner: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.result, self.runner, self._clock = result, runner, clock
        self._started = clock()
        self._first: tuple[float, int] | None = None

    def line(self) -> str:
        """Samples, failed, images/s and output shards as far as the runner counts; else that it does not."""
        now = self._clock()
        head = f"{self.runner}, {duration(now - self._started)}"
        counts = self._counts()
        samples = counts.get("samples_scored", 0) + counts.get("samples_reused", 0)
        if not counts:
            return f"{head}: the runner tells no counts yet"
        parts = [counted(samples, "image")]
        scored = counts.get("samples_scored", 0)
        if scored:
            self._first = self._first or (now, scored)
            began, before = self._first
            if now > began and scored > before:
                parts.append(f"{rate_text((scored - before) / (now - began))} images/s")
        parts.append(f"{counts.get('samples_failed', 0):,} failed")
        if counts.get("samples_written"):
            parts.append(f"{counts['samples_written']:,} written")
        return f"{head}: {', '.join(parts)}"

    def _counts(self) -> dict[str, int]:
        """Our counters; none where the runner gives none, for whatever reason: it is about the job, no part of it."""
        try:
            found = metrics_now(self.result).query(MetricsFilter().with_namespace(NAMESPACE))["counters"]
        except Exception:
            return {}
        counts: dict[str, int] = {}
        for one in found:
            value = one.attempted if one.committed is None else max(one.committed, one.attempted or 0)
            counts[one.key.metric.name] = counts.get(one.key.metric.name, 0) + (value or 0)
        return counts


@contextlib.contextmanager
def shown_of_runner(
    result: PipelineResult, runner: str, total_bytes: int, total_shards: int, stream: TextIO | None = None
) -> Iterator[None]:
    """While the block waits for a job elsewhere, a line shows what its runner counts; or, where the workers are threads
    of this process (LOOPBACK), what they do."""
    out: Any = stream or sys.stderr
    counts, stop, live = RunnersCounts(result, runner), threading.Event(), out.isatty()
    here = ProgressLine(total_bytes, total_shards=total_shards)

    def show() -> None:
        while not stop.wait(ASK_SECONDS if live else progress_line.LOG_EVERY_SECONDS):
            line = here.line() if BOARD.read().phase else counts.line()
            if not stop.is_set():
                out.write(f"\r\x1b[K{line}" if live else f"{line}\n")
                out.flush()

    thread = threading.Thread(target=show, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(5)
        if live:
            out.write("\r\x1b[K")
            out.flush()
