"""The line that a terminal shows while a job runs, and that a log has once a minute."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import TextIO

from beam_curator.commands.status_line import StatusLine
from beam_curator.first_few import counted
from beam_curator.phases import COMPARING, PLANNING, REPORTING, REUSING, SCORING, SELECTING, WRITING
from beam_curator.progress import BOARD, Done


def describe(done: Done, seconds: float, total_bytes: int, total_shards: int = 0) -> str:
    """The line: the phase, models that are being loaded, how much is done, how fast, the share done and the time left.

    Args:
      done: what is done.
      seconds: time since the phase began.
      total_bytes: size of the input's shards in storage; 0 where that is not known.
      total_shards: how many they are; 0 where that is not known.
    """
    loading = [f"loading {model}" for model in done.loading]
    if not done.phase and not done.samples + done.embedded:
        return ", ".join(loading) or "starting"
    phase = phase_of(done, total_shards)
    if loading and not done.samples + done.embedded:
        return f"{phase}: {', '.join(loading)}"
    if phase == PLANNING:
        of_all = f"{done.planned_shards:,} of {counted(total_shards, 'shard')}" if total_shards else "shards"
        return f"{phase}: {of_all}"
    if _is_planned(done, total_shards):  # shards may be compressed, or of images whose sizes nobody knows
        total_bytes = done.planned_bytes
    told = {SELECTING: _selecting, COMPARING: _comparing, WRITING: _writing, REPORTING: _waiting}.get(phase)
    parts = told(done, seconds) if told else _samples(done, seconds, total_bytes)
    return f"{phase}: {', '.join([*loading, *parts])}"


def _is_planned(done: Done, total_shards: int) -> bool:
    """Tells whether all shards are cut into ranges; False where their number is not known."""
    return 0 < total_shards <= done.planned_shards


def phase_of(done: Done, total_shards: int) -> str:
    """The phase to show, which may be another one than `Done.phase`: REUSING where no image had to be scored so far,
    and SELECTING once all ranges have scores.

    Args:
      done: what is done.
      total_shards: shards of the input; 0 where that is not known.
    """
    is_scoring = done.phase in ("", PLANNING, REUSING, SCORING)
    if is_scoring and _is_planned(done, total_shards) and 0 < done.ranges <= done.ranges_scored:
        return SELECTING
    if done.phase in ("", PLANNING, SCORING) and done.samples and not done.scored + done.embedded:
        return REUSING
    return done.phase or SCORING


def _samples(done: Done, seconds: float, total_bytes: int) -> list[str]:
    if done.flowing_since:
        seconds -= done.flowing_since - done.began
    flowed = done.scored + done.embedded - done.flowing_samples
    flowed_bytes = done.scored_bytes + done.embedded_bytes - done.flowing_bytes
    left_bytes = max(0, total_bytes - done.bytes - done.embedded_bytes)
    parts = [counted(done.samples + done.embedded, "image")]
    if flowed > 0 and seconds > 0:
        parts.append(f"{rate_text(flowed / seconds)} images/s")
    parts.append(f"{done.failed + done.embedded_failed:,} failed")
    if total_bytes and left_bytes < total_bytes:
        parts.append(f"{1 - left_bytes / total_bytes:.0%}")
    if flowed_bytes > 0 and left_bytes:
        parts.append(f"{duration(seconds * left_bytes / flowed_bytes)} left")
    return parts


def _writing(done: Done, seconds: float) -> list[str]:
    if not done.output_shards:
        return [f"the ledger of {done.ledger_files:,} of {counted(done.ranges, 'range')}"]
    due = max(done.output_shards_due, done.output_shards)
    parts = [f"{done.output_shards:,} of {counted(due, 'output shard')}"]
    if seconds > 0:
        parts.append(f"{rate_text(done.written / seconds)} images/s")
    if done.output_shards < due:
        parts.append(f"{duration(seconds * (due - done.output_shards) / done.output_shards)} left")
    return parts


def _selecting(done: Done, seconds: float) -> list[str]:
    return [counted(done.samples, "image"), f"{done.failed:,} failed", *_waiting(done, seconds)]


def _comparing(done: Done, seconds: float) -> list[str]:
    """Groups of cells are about the same work; before they are known, and after them, nobody knows how much is left."""
    if not 0 < done.groups_compared < done.groups:
        return _waiting(done, seconds)
    since = seconds - (done.comparing_since - done.began)
    left = duration(since * (done.groups - done.groups_compared) / done.groups_compared)
    return [f"{done.groups_compared:,} of {counted(done.groups, 'group')} of cells", f"{left} left"]


def _waiting(_: Done, seconds: float) -> list[str]:
    return [f"since {duration(seconds)}"]


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


LOG_EVERY_SECONDS = 60.0
"""The seconds between two plain lines where there is no terminal."""


class ProgressLine:
    """Shows how far a job is while a block runs: one live line on a terminal, plain lines now and then elsewhere."""

    def __init__(
        self,
        total_bytes: int,
        stream: TextIO | None = None,
        total_shards: int = 0,
        read: Callable[[], Done] | None = None,
        live_seconds: float = 0.5,
    ) -> None:
        """Shows the line while the `with` block runs.

        Args:
          total_bytes, total_shards: as those of `describe`.
          stream: where the line goes; by default the standard error.
          read: gives what is done so far; by default what this process's `BOARD` has.
          live_seconds: how often a terminal's line is written anew.
        """
        self._total_bytes, self._total_shards = total_bytes, total_shards
        self._status = StatusLine(stream or sys.stderr)
        self._read = read or BOARD.read
        self._every = live_seconds if self._status.live else LOG_EVERY_SECONDS
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._shown = ""
        self._selecting_since = 0.0

    def __enter__(self) -> ProgressLine:
        BOARD.reset()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5)  # it may wait for an answer from elsewhere
        self._status.end()

    def line(self) -> str:
        """The line as it is now."""
        done, now = self._read(), time.time()
        began = done.began
        if phase_of(done, self._total_shards) == SELECTING:  # no worker knows when the last of all has scored
            began = self._selecting_since = self._selecting_since or now
        return describe(done, max(0.0, now - began), self._total_bytes, self._total_shards)

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            line = self.line()
            if line != self._shown and not self._stop.is_set():
                self._status.show(line)
                self._shown = line
