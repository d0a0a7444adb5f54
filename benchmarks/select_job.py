"""The main job in a process of its own, with the time that each of its phases takes.

python -m benchmarks.select_job PHASES.json TOUCHED FLAGS...   runs pipelines.curate_images with the flags; before the
copying begins, as many bytes of memory are touched.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

PHASES = {
    "planning": [
        ("beam_curator.sources.tar.planning", "plan_ranges"),
        ("beam_curator.transforms.planning", "plan_ranges"),
    ],
    "reading of parts": [("beam_curator.transforms.checkpointing", "read_range")],
    "embeddings": [("beam_curator.transforms.stored_scoring", "read_embeddings")],
    "scoring": [("beam_curator.transforms.stored_scoring", "with_scores")],
    "selection": [("beam_curator.transforms.selection", "select_batch")],
    "counts": [("beam_curator.output.outcomes", "summarize")],
    "placing": [("beam_curator.transforms.writing", "place_samples")],
    "ledger": [("beam_curator.output.ledger", "write_table")],
    "copying": [("beam_curator.transforms.writing", "write_shard")],
    "manifest": [("beam_curator.output.manifest", "finish"), ("beam_curator.transforms.writing", "finish")],
}
"""The functions in which each phase spends its time, under every name by which the job calls them."""


@dataclasses.dataclass
class Phase:
    """The time in which a phase ran.

    Attributes:
      first: when its first call began, in seconds since 1970.
      last: when its last call ended.
      busy: seconds in its calls, of all threads together.
      calls: how many.
    """

    first: float = 0.0
    last: float = 0.0
    busy: float = 0.0
    calls: int = 0


@dataclasses.dataclass(frozen=True)
class TimedJob:
    """A job that ran to its end.

    Attributes:
      started: when its process was started, in seconds since 1970.
      seconds: from then to its end.
      phases: by name.
      peak_rss_bytes: the most memory that it held.
      cpu_seconds: of all its threads together, from start to end.
      output: what it printed.
    """

    started: float
    seconds: float
    phases: dict[str, Phase]
    peak_rss_bytes: int
    cpu_seconds: float
    output: str

    @property
    def seconds_before_copying(self) -> float:
        """The seconds from the start of the process to the first output shard; without any, to the manifest."""
        return (self.phases["copying"].first or self.phases["manifest"].first) - self.started

    @property
    def copying_seconds(self) -> float:
        """The seconds from the first output shard to the end of the last one."""
        return self.phases["copying"].last - self.phases["copying"].first


def run_job(directory: Path, flags: Sequence[str], touched_bytes: int = 0) -> TimedJob:
    """Runs the main job in a fresh process, and gives its phases.

    Args:
      directory: where the job is.
      flags: of the main job.
      touched_bytes: that `touch_memory` gets before the copying begins.

    Raises:
      SystemExit: when it fails, with what it said.
    """
    report = directory / "phases.json"
    command = [sys.executable, "-m", "benchmarks.select_job", str(report), str(touched_bytes), *flags]
    started = time.time()
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.time() - started
    if ran.returncode != 0:
        raise SystemExit(f"the job failed with exit code {ran.returncode}:\n{ran.stderr}")
    if "scored 0 images" not in ran.stdout and not ran.stdout.startswith("Preview: "):
        raise SystemExit(f"the job was not finished before, it scored images:\n{ran.stdout}")
    found = json.loads(report.read_text())
    phases = {name: Phase(**found["phases"][name]) for name in PHASES}
    return TimedJob(started, seconds, phases, found["peak_rss_bytes"], found["cpu_seconds"], ran.stdout)


def touch_memory(directory: Path, size_bytes: int) -> None:
    """Has the page cache hold as many bytes for a moment.

    A virtual machine whose host takes back what it does not use gets memory at about 1 GB/s the first time, and what
    it freed a moment ago at once: without this, the first of several copies pays for all.
    """
    piece = bytes(4 << 20)
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(0, size_bytes, len(piece)):
            file.write(piece)


def _timed(
    function: Callable[..., Any], phase: Phase, lock: threading.Lock, before: Callable[[], None]
) -> Callable[..., Any]:
    @functools.wraps(function)
    def timed(*arguments: Any, **named: Any) -> Any:
        with lock:
            if not phase.first:
                before()
            began = time.time()
            phase.first = phase.first or began
        result = function(*arguments, **named)
        if hasattr(result, "__next__"):  # a generator: its work is in its items
            result = list(result)
        with lock:
            phase.last = time.time()
            phase.busy += phase.last - began
            phase.calls += 1
        return result

    return timed


def _watch(phases: dict[str, Phase], before_copying: Callable[[], None]) -> None:
    """Puts a clock around the functions of every phase."""
    lock = threading.Lock()
    for name, places in PHASES.items():
        module, attribute = places[0]
        before = before_copying if name == "copying" else lambda: None
        timed = _timed(getattr(importlib.import_module(module), attribute), phases[name], lock, before)
        for module, attribute in places:
            setattr(importlib.import_module(module), attribute, timed)


def main(argv: Sequence[str]) -> int:
    """Runs the job; gives its exit code."""
    from beam_curator.commands import curate_images

    report, touched_bytes, flags = Path(argv[0]), int(argv[1]), argv[2:]
    phases = {name: Phase() for name in PHASES}
    _watch(phases, lambda: touch_memory(report.parent, touched_bytes))
    code = curate_images.main(flags)
    used = resource.getrusage(resource.RUSAGE_SELF)
    found = {
        "phases": {name: dataclasses.asdict(phase) for name, phase in phases.items()},
        "peak_rss_bytes": used.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "cpu_seconds": used.ru_utime + used.ru_stime,
    }
    report.write_text(json.dumps(found))
    return code


if __name__ == "__main__":
    from beam_curator import process_tuning

    process_tuning.turn_on()  # as in the command
    sys.exit(main(sys.argv[1:]))
