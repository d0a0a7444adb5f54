"""Measures what a job over very many ranges takes beside its images: time and peak memory of each phase that sees all
of them.

python -m benchmarks.scale --ranges 10000 100000          # each phase in a process of its own
python -m benchmarks.scale --ranges 10000000 --limit 7200 --phases places totals strays checks
python -m benchmarks.scale --ranges 1000000 --limit 7200 --phases ledger --samples 1
python -m benchmarks.scale --ranges 100000 --phases places totals -- --runner=FlinkRunner \\
    --flink_master=localhost:8081 --environment_type=LOOPBACK     # on a session cluster that runs

No image is made. `places`: prefix sums, and each range's place asked for. `totals`: counts of all ranges and output
shards. `strays`: names that belong beside names that stand, in a simulated bucket. `waiting`: elements of 300 bytes
that wait for the sum of all, as rows of ranges do. `checks`: all that a command looks at before it begins, a shard for
each ten ranges; `checks-again`: the same command once more. `ledger`: the whole sink over rows of which none is kept,
`--samples` a range. What follows `--` goes to Beam.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from beam_curator.commands.flag_types import positive_int
from benchmarks.processes import ProcessRun, run
from benchmarks.tables import machine, markdown

PHASES = ("places", "totals", "strays", "waiting", "checks", "checks-again", "ledger")
NOT_FINISHED = "not within the limit"


def measured(phase: str, ranges: int, samples: int, limit_seconds: float, of_beam: Sequence[str]) -> ProcessRun | None:
    """Runs a phase in a process of its own; None where it is not finished within the limit."""
    with tempfile.TemporaryDirectory(prefix="scale-") as work:

        def run_phase(phase: str) -> ProcessRun:
            told = ["--ranges", str(ranges), "--samples", str(samples), "--output", str(Path(work) / "out")]
            argv = [sys.executable, "-m", "benchmarks.scale_phases", phase, *told, *of_beam]
            return run(argv, limit_seconds=limit_seconds)

        try:
            if phase == "checks-again":
                run_phase("checks")  # whose job.json it meets
            return run_phase(phase)
        except subprocess.TimeoutExpired:
            return None


def row(phase: str, ranges: int, found: ProcessRun | None) -> list[str]:
    """A row of the table: seconds are those of the phase, without the start of Python; memory is of all of it."""
    if found is None:
        return [phase, f"{ranges:,}", NOT_FINISHED, "", "", ""]
    seconds = _told(found)["seconds"]
    return [
        phase,
        f"{ranges:,}",
        f"{seconds:.1f} s",
        f"{found.cpu_seconds:.1f} s",
        f"{1e6 * seconds / ranges:.0f} us",
        f"{found.peak_bytes / 1e6:.0f} MB",
    ]


def _told(found: ProcessRun) -> dict[str, Any]:
    lines = found.output.splitlines()  # a runner may have the last word
    return json.loads(next(line for line in reversed(lines) if line.startswith('{"seconds"')))


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--ranges", type=positive_int, nargs="+", default=[10_000, 100_000], help="(default 10000 100000)"
    )
    parser.add_argument("--phases", nargs="+", choices=PHASES, default=PHASES, help="(default: all)")
    parser.add_argument("--samples", type=positive_int, default=20, help="of a range, in `ledger` (default 20)")
    parser.add_argument("--limit", type=float, default=600, help="seconds that a phase may take (default 600)")
    parser.add_argument("of_beam", nargs="*", help="flags of Beam, after --")
    flags = parser.parse_args(argv)
    print(machine(), flush=True)
    rows = []
    for phase in flags.phases:
        for ranges in flags.ranges:
            found = measured(phase, ranges, flags.samples, flags.limit, flags.of_beam)
            rows.append(row(phase, ranges, found))
            steps = _told(found)["steps"] if found is not None else {}
            told = ", ".join(f"{name} {seconds} s" for name, seconds in steps.items())
            print(" ".join([*rows[-1], told]), flush=True)
    print("\n" + markdown(["phase", "ranges", "time", "CPU with start", "a range", "peak memory"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
