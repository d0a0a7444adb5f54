"""How far a job is that does not run in this process: from what its worker processes write, or its runner counts."""

from __future__ import annotations

import collections
import contextlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TextIO

from apache_beam.metrics import MetricsFilter
from apache_beam.metrics.metric import MetricResults
from apache_beam.runners.runner import PipelineResult

from beam_curator.commands import progress_line
from beam_curator.commands.progress_line import ProgressLine, duration, rate_text
from beam_curator.first_few import counted
from beam_curator.phases import PLANNING, REUSING, SCORING, WRITING
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
      total_bytes, total_shards: of the input; 0 where that is not known.
    """

    def __init__(
        self,
        result: PipelineResult,
        runner: str,
        clock: Callable[[], float] = time.monotonic,
        total_bytes: int = 0,
        total_shards: int = 0,
    ) -> None:
        self.result, self.runner, self._clock = result, runner, clock
        self.total_bytes, self.total_shards = total_bytes, total_shards
        self._started = clock()
        self._first: tuple[float, int, float] | None = None

    def line(self) -> str:
        """The phase, samples, images/s, failed, and the share done and the time left, as far as the runner counts; else
        that it does not."""
        now = self._clock()
        head = f"{self.runner}, {duration(now - self._started)}"
        counts = self._counts()
        if not counts:
            return f"{head}: the runner tells no counts yet"
        phase = _phase(counts)
        if phase == PLANNING:
            of_all = f" of {self.total_shards:,}" if self.total_shards else ""
            return f"{head}, {phase}: {counts['shards_planned']:,}{of_all} shards"
        parts = [counted(counts["samples_scored"] + counts["samples_reused"], "image")]
        rate, left = self._flow(counts, now) if phase == SCORING else ([], [])
        parts += [*rate, f"{counts['samples_failed']:,} failed", *left]
        if phase == WRITING:
            parts.append(f"{counts['samples_written']:,} written")
        return f"{head}, {phase}: {', '.join(parts)}"

    def _flow(self, counts: Mapping[str, int], now: float) -> tuple[list[str], list[str]]:
        """How fast images are scored; how much of the input is, and when all will be, where none had been before."""
        scored, read = counts["samples_scored"], counts["samples_read"]
        if not scored:
            return [], []
        scored_bytes = counts["bytes_read"] * min(1.0, scored / max(read, 1))
        self._first = self._first or (now, scored, scored_bytes)
        began, before, before_bytes = self._first
        if now <= began or scored <= before:
            return [], []
        rate = [f"{rate_text((scored - before) / (now - began))} images/s"]
        left_bytes = self.total_bytes - scored_bytes
        if counts["samples_reused"] or scored_bytes <= before_bytes or left_bytes < 0:  # of tars that are compressed
            return rate, []
        left = duration((now - began) * left_bytes / (scored_bytes - before_bytes))
        return rate, [f"{scored_bytes / self.total_bytes:.0%}", f"{left} left"]

    def _counts(self) -> collections.Counter[str]:
        """Our counters; none where the runner gives none, for whatever reason: it is about the job, no part of it."""
        try:
            found = metrics_now(self.result).query(MetricsFilter().with_namespace(NAMESPACE))["counters"]
        except Exception:
            return collections.Counter()
        counts: collections.Counter[str] = collections.Counter()
        for one in found:
            value = one.attempted if one.committed is None else max(one.committed, one.attempted or 0)
            counts[one.key.metric.name] += value or 0
        return counts


def _phase(counts: Mapping[str, int]) -> str:
    """The furthest phase of which a runner has counted anything."""
    if counts["samples_written"]:
        return WRITING
    if counts["samples_scored"] or counts["samples_read"]:
        return SCORING
    return REUSING if counts["samples_reused"] else PLANNING


@contextlib.contextmanager
def shown_of_runner(
    result: PipelineResult, runner: str, total_bytes: int, total_shards: int, stream: TextIO | None = None
) -> Iterator[None]:
    """While the block waits for a job elsewhere, a line shows what its runner counts; or, where the workers are threads
    of this process (LOOPBACK), what they do."""
    out: Any = stream or sys.stderr
    counts = RunnersCounts(result, runner, total_bytes=total_bytes, total_shards=total_shards)
    stop, live = threading.Event(), out.isatty()
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
