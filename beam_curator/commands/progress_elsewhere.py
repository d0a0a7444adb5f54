"""Tells how far a job is that does not run in this process: from what its worker processes write, or its runner
counts."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TextIO

from apache_beam.metrics import MetricsFilter
from apache_beam.metrics.metric import MetricResults
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.runner import PipelineResult

from beam_curator.commands import progress_line
from beam_curator.commands.flink_counts import flink_counts
from beam_curator.commands.progress_line import ProgressLine, duration, rate_text
from beam_curator.commands.status_line import StatusLine
from beam_curator.first_few import counted
from beam_curator.output.score_parts import SCORES_DIRECTORY
from beam_curator.phases import COMPARING, PLANNING, REUSING, SCORING, SELECTING, WRITING
from beam_curator.progress import BOARD, SHARED_IN, read_done
from beam_curator.storage import directories, urls
from beam_curator.temporaries import temporary_directory
from beam_curator.transforms.metrics import NAMESPACE

ASK_SECONDS = 10.0
"""The seconds between two questions to a runner elsewhere, where a terminal shows the answer."""

_MOST_RANGES_LISTED = 20_000
"""Up to so many ranges their files are counted each time: a bucket lists a thousand at a request."""


@contextlib.contextmanager
def shown_of_processes(total_bytes: int, total_shards: int) -> Iterator[None]:
    """Has worker processes that the block starts say how far they are, and shows it on a line while the block runs."""
    with temporary_directory("beam-curator-progress-") as directory:
        os.environ[SHARED_IN] = directory
        try:
            with ProgressLine(total_bytes, total_shards=total_shards, read=lambda: read_done(directory)):
                yield
        finally:
            del os.environ[SHARED_IN]


def metrics_now(result: PipelineResult) -> MetricResults:
    """Asks a runner what it counts by now: the result of a portable job (Flink, Spark, Prism) remembers its first
    answer."""
    if getattr(result, "_metrics", None) is not None:
        result._metrics = None
    return result.metrics()


def counts_of(result: PipelineResult) -> Counter[str]:
    """Asks a runner for our counters, by name."""
    counts: Counter[str] = Counter()
    for one in metrics_now(result).query(MetricsFilter().with_namespace(NAMESPACE))["counters"]:
        value = one.attempted if one.committed is None else max(one.committed, one.attempted or 0)
        counts[one.key.metric.name] += value or 0
    return counts


class RunnersCounts:
    """The line of progress of a job that runs elsewhere, from the counters of its runner.

    Attributes:
      ask: what gives our counters by name, as they are now.
      runner: what the runner is called.
      total_bytes, total_shards: of the input; 0 where that is not known.
      scored_ranges: how many ranges have a file of scores by now. It is asked where the runner counts no image before
        the end of a stage, as Flink does.
    """

    def __init__(
        self,
        ask: Callable[[], Counter[str]],
        runner: str,
        clock: Callable[[], float] = time.monotonic,
        total_bytes: int = 0,
        total_shards: int = 0,
        scored_ranges: Callable[[], int] = lambda: 0,
    ) -> None:
        self.ask, self.runner, self._clock, self.scored_ranges = ask, runner, clock, scored_ranges
        self.total_bytes, self.total_shards = total_bytes, total_shards
        self._started = clock()
        self._first: tuple[float, int, float] | None = None
        self._first_of: dict[str, tuple[float, int]] = {}
        self._most: Counter[str] = Counter()

    def line(self) -> str:
        """The phase, samples, images/s, failed, and the share done and the time left, as far as the runner counts; else
        that it does not."""
        now = self._clock()
        head = f"{self.runner}, {duration(now - self._started)}"
        counts = self._counts()
        if not counts:
            return f"{head}: the runner tells no counts yet"
        phase = _phase(counts, self.total_shards)
        if phase == PLANNING and 0 < self.total_shards <= counts["shards_planned"]:
            return f"{head}, {SCORING}: {', '.join(self._ranges(counts['ranges_planned'], now))}"
        if phase == PLANNING:
            of_all = f" of {self.total_shards:,}" if self.total_shards else ""
            return f"{head}, {phase}: {counts['shards_planned']:,}{of_all} shards"
        images, listed = counts["samples_scored"] + counts["samples_reused"], counts["samples_listed"]
        parts = [counted(images, "image")]
        rate, left = self._flow(counts, now) if phase == SCORING else ([], [])
        parts += [*rate, f"{counts['samples_failed']:,} failed", *left]
        if phase == WRITING:
            parts += [f"{listed:,} in the ledger"] if listed < images else []
            parts += self._written(counts, now)
        elif phase in (SELECTING, COMPARING):
            parts += self._together(counts, phase, now)
        return f"{head}, {phase}: {', '.join(parts)}"

    def _written(self, counts: Mapping[str, int], now: float) -> list[str]:
        """Says how many of the kept samples are written, how fast, and when all will be."""
        written, kept = counts["samples_written"], counts["samples_kept"]
        rate = self._rate(WRITING, written, now)
        if not kept:
            return [f"{written:,} written"]
        told = [f"{min(written, kept):,} of {kept:,} written"]
        return told if not rate else [*told, f"{rate_text(rate)} images/s", *_time_left(kept - written, rate)]

    def _together(self, counts: Mapping[str, int], phase: str, now: float) -> list[str]:
        """Says how far the job is with what all samples decide together; how long it has taken where nothing else is
        known."""
        began, _ = self._first_of.setdefault(phase, (now, 0))
        compared, groups = counts["groups_compared"], counts["groups_to_compare"]
        if phase == SELECTING or not 0 < compared < groups:
            return [f"since {duration(now - began)}"]
        rate = self._rate("groups", compared, now)
        left = _time_left(groups - compared, rate) if rate else []
        return [f"{compared:,} of {counted(groups, 'group')} of cells", *left]

    def _rate(self, what: str, done: int, now: float) -> float:
        """Computes how much is done a second since the first look at which any was; 0 where nobody knows."""
        if not done:
            return 0.0
        began, before = self._first_of.setdefault(what, (now, done))
        return (done - before) / (now - began) if now > began else 0.0

    def _flow(self, counts: Mapping[str, int], now: float) -> tuple[list[str], list[str]]:
        """Says how fast images are scored; and how much of the input is, and when all will be, where none had been
        before."""
        scored, read = counts["samples_scored"], counts["samples_read"]
        if not scored:
            return [], []
        scored_bytes = counts["bytes_read"] * min(1.0, scored / max(read, 1))
        self._first = self._first or (now, scored, scored_bytes)
        began, before, before_bytes = self._first
        if now <= began or scored <= before:
            return [], []
        rate = [f"{rate_text((scored - before) / (now - began))} images/s"]
        is_planned = 0 < self.total_shards <= counts["shards_planned"]
        total_bytes = counts["bytes_planned"] if is_planned else self.total_bytes
        left_bytes = total_bytes - scored_bytes
        if counts["samples_reused"] or scored_bytes <= before_bytes or left_bytes < 0:
            return rate, []
        left = duration((now - began) * left_bytes / (scored_bytes - before_bytes))
        return rate, [f"{scored_bytes / total_bytes:.0%}", f"{left} left"]

    def _ranges(self, planned: int, now: float) -> list[str]:
        """Says how many of the planned ranges have scores, and when all will, by their files."""
        if planned > _MOST_RANGES_LISTED:
            return [f"{planned:,} ranges"]
        scored = min(self.scored_ranges(), planned)
        rate = self._rate("ranges", scored, now)
        return [f"{scored:,} of {planned:,} ranges", *(_time_left(planned - scored, rate) if rate else [])]

    def _counts(self) -> Counter[str]:
        """Gives our counters, each the most that was told, as Prism's fall back for a moment; none where the runner
        gives none, for whatever reason: it is about the job, no part of it."""
        try:
            self._most |= self.ask()
        except Exception:
            return Counter()
        return self._most


def _time_left(left: int, rate: float) -> list[str]:
    return [f"{duration(left / rate)} left"] if left >= 0 else []  # what is done twice is counted twice


def _phase(counts: Mapping[str, int], total_shards: int) -> str:
    """The furthest phase of which a runner has counted anything; where all is scored, all together decides what is
    kept."""
    if counts["samples_listed"] or counts["samples_written"]:
        return WRITING
    ranges = counts["ranges_planned"]
    if 0 < total_shards <= counts["shards_planned"] and 0 < ranges <= counts["ranges_scored"]:
        return COMPARING if ranges <= counts["ranges_to_compare"] else SELECTING
    if counts["samples_scored"] or counts["samples_read"]:
        return SCORING
    return REUSING if counts["samples_reused"] else PLANNING


def _counts_on(runner: str, options: PipelineOptions, result: PipelineResult) -> Counter[str]:
    """The counters as the Flink cluster has them; if it cannot be asked, as Beam has them."""
    if "Flink" in runner:
        with contextlib.suppress(OSError, ValueError, KeyError):
            if counts := flink_counts(options, result):
                return counts
    return counts_of(result)


def _scored_ranges(output: str) -> int:
    return sum(name.endswith(".parquet") for name in directories.iter_files(urls.join(output, SCORES_DIRECTORY)))


@contextlib.contextmanager
def shown_of_runner(
    result: PipelineResult,
    options: PipelineOptions,
    output: str,
    total_bytes: int,
    total_shards: int,
    stream: TextIO | None = None,
) -> Iterator[None]:
    """Shows on a line, while the block waits for a job elsewhere, what its runner counts; or, where the workers are
    threads of this process (LOOPBACK), what they do."""
    status = StatusLine(stream or sys.stderr)
    runner = options.view_as(StandardOptions).runner or ""
    ask = functools.partial(_counts_on, runner, options, result)
    scored = functools.partial(_scored_ranges, output)
    counts = RunnersCounts(ask, runner, total_bytes=total_bytes, total_shards=total_shards, scored_ranges=scored)
    stop = threading.Event()
    here = ProgressLine(total_bytes, total_shards=total_shards)

    def show() -> None:
        while not stop.wait(ASK_SECONDS if status.live else progress_line.LOG_EVERY_SECONDS):
            line = here.line() if BOARD.read().phase else counts.line()
            if not stop.is_set():
                status.show(line)

    thread = threading.Thread(target=show, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(5)
        status.end()
