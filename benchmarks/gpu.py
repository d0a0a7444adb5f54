"""Measures what a GPU machine can do with this package, in one call of at most ten minutes, as JSON lines.

On a machine with the network, in the repository, the wheels that the other lacks are collected, in loads of at most 64
MiB (name what is there with --present, its Python with --python):

    python -m benchmarks.gpu_wheels wheels --python 3.12 --present pyarrow

Beam and pyarrow are for the section on the job alone, which says what it lacks. On the GPU machine, which needs no
network, with the repository and that directory:

    pip install --no-index --no-deps wheels/*/*.whl
    python -m benchmarks.gpu --output gpu.jsonl

It makes a checkpoint of random weights, which is loaded once, and photographs. Each section is guarded: one that fails,
or for which no time is left, is a line that says so, and the next one begins. To see that it works, on the CPU:

    python -m benchmarks.gpu --device cpu --size tiny
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from beam_curator import process_tuning
from benchmarks import photos
from benchmarks.gpu_sizes import SIZES, Clock, Rows


class Report:
    """Writes lines of JSON, on the standard output and in a file."""

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("w") if path else None
        self.lines: list[dict[str, Any]] = []

    def add(self, section: str, row: Mapping[str, Any]) -> None:
        line = {"section": section, **row}
        self.lines.append(line)
        text = json.dumps(line, default=str)
        print(text, flush=True)
        if self._file:
            print(text, file=self._file, flush=True)


def run_sections(sections: Mapping[str, Callable[[], Rows]], report: Report, clock: Clock) -> None:
    """Runs each section as far as there is time; what one raises is a line, and ends it alone."""
    for name, section in sections.items():
        if clock.left <= 0:
            report.add(name, {"skipped": "no time is left"})
            continue
        started = time.monotonic()
        try:
            for row in section():
                report.add(name, row)
                if clock.left <= 0:
                    report.add(name, {"skipped": "no time is left for the rest"})
                    break
        except Exception as error:
            first = (str(error).strip().splitlines() or [""])[0]
            report.add(name, {"error": f"{type(error).__name__}: {first}"})
        report.add(name, {"section_seconds": round(time.monotonic() - started, 1)})


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, and prints lines as they come; 1 if a section failed, 2 if there is none of a name."""
    flags = _parse(argv)
    report, clock = Report(flags.output), Clock(flags.seconds)
    from benchmarks import gpu_feed, gpu_model  # what they lack is told by a line

    size = dataclasses.replace(SIZES[flags.size], **({"images": flags.images} if flags.images else {}))
    bench: dict[str, gpu_model.Bench] = {}

    def prepared() -> Rows:
        bench["it"] = gpu_model.Bench.prepared(size, flags.device, flags.cache, flags.compile, clock)
        yield bench["it"].machine()

    def of(section: Callable[["gpu_model.Bench"], Rows]) -> Callable[[], Rows]:
        return lambda: section(bench["it"])

    sections = {**gpu_model.FIRST, **gpu_feed.SECTIONS, **gpu_model.LAST}
    if unknown := sorted(set(flags.sections or sections) - set(sections)):
        print(f"no section {', '.join(unknown)}: there are {', '.join(sections)}", file=sys.stderr)
        return 2
    run_sections({"machine": prepared}, report, clock)
    if bench:
        wanted = {name: of(section) for name, section in sections.items() if name in (flags.sections or sections)}
        run_sections(wanted, report, clock)
    return 1 if any("error" in line for line in report.lines) else 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=sorted(SIZES), default="full", help="how much (default %(default)s)")
    parser.add_argument("--device", default="cuda", help="cuda or cpu (default %(default)s)")
    parser.add_argument("--sections", nargs="+", help="these alone")
    parser.add_argument("--images", type=int, help="of each size of photographs, in place of the size's own number")
    parser.add_argument("--seconds", type=float, default=560, help="after which nothing is begun (default %(default)s)")
    parser.add_argument("--no_compile", dest="compile", action="store_false", help="leave out what torch.compile makes")
    parser.add_argument("--output", type=Path, help="a file that the lines go to as well")
    parser.add_argument("--cache", type=Path, default=photos.default_cache(), help="(default %(default)s)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    process_tuning.turn_on()  # as in the command
    sys.exit(main())
