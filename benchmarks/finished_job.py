"""A finished job of many rows that a benchmark makes once: where, of what size, and whether it stays."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from beam_curator.output.score_parts import SCORING_VERSION
from benchmarks.tables import machine
from benchmarks.timing import seconds_of


def job_parser(name: str, doc: str | None) -> argparse.ArgumentParser:
    """The flags that benchmarks of such a job have in common.

    Args:
      name: of the benchmark's module.
      doc: what `--help` says of it.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, prog=f"python -m benchmarks.{name}"
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the job")
    parser.add_argument("--dir", type=Path, help="where the job is made (default: a temporary directory)")
    parser.add_argument("--keep", action="store_true", help="leave it there; a job that stands there is used again")
    return parser


@contextlib.contextmanager
def job_directory(flags: argparse.Namespace, name: str) -> Iterator[Path]:
    """Makes the directory of the job, and prints where it is; removes it at the end, unless it is to be kept."""
    directory = flags.dir or Path(tempfile.mkdtemp(prefix=f"{name}-"))
    try:
        print(f"{machine()}; in {directory}", flush=True)
        yield directory
    finally:
        if not flags.keep:
            shutil.rmtree(directory, ignore_errors=True)


def make_once(directory: Path, size: object, make: Callable[[], object]) -> None:
    """Makes a job, unless the same one stands there.

    Args:
      directory: where; what else stands there is removed.
      size: what it is made of, as text tells it.
      make: makes it.
    """
    made, content = directory / "made.txt", f"{size}, scoring version {SCORING_VERSION}"
    if made.is_file() and made.read_text() == content:
        return
    shutil.rmtree(directory, ignore_errors=True)
    seconds = seconds_of(make)
    made.write_text(content)
    print(f"made {size} in {seconds:.0f} s", flush=True)
