"""Measures how long re-selecting a finished job takes, and how fast what is kept is copied, against cp.

python -m benchmarks.select                        1,000,000 rows, then 2 GB of drawn photographs
python -m benchmarks.select --rows 50000 --copy_mb 500 --repeats 1 --dir /tmp/select --keep

Two finished jobs are made first (minutes): one of many rows with tiny images, one of few rows with large ones. Then the
main job runs on each with new thresholds, every time in a fresh process. No model is loaded and no image decoded.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from beam_curator.output.score_parts import SCORING_VERSION
from benchmarks.photos import default_cache, make_shards
from benchmarks.select_data import JobSize, flags_of_job, make_scored_job
from benchmarks.select_job import TimedJob, run_job, touch_memory
from benchmarks.tables import machine, markdown
from benchmarks.timing import interleaved, median, seconds_of

MB = 1_000_000
SHARD_BYTES = 64 << 20
KEEP_FEW = ("--min_aesthetic", "6.5", "--max_nsfw", "0.5")
KEEP_MORE = ("--min_aesthetic", "5.5", "--max_nsfw", "0.5")
KEEP_NONE = ("--min_aesthetic", "10", "--max_nsfw", "0.5")
KEEP_ALL = ("--min_aesthetic", "-100", "--max_nsfw", "2")


def main(argv: Sequence[str] | None = None) -> int:
    """Makes the jobs, measures, and prints the tables."""
    flags = _parse(argv)
    with _directory(flags.dir, flags.keep) as directory:
        print(f"{machine()}; in {directory}", flush=True)
        if flags.rows:
            size = JobSize(flags.rows, flags.samples_per_shard, flags.image_bytes, flags.range_mb)
            _print_reselection(size, reselect(directory / "rows", size))
        if flags.copy_mb:
            size = _size_to_copy(flags)
            seconds = copy_speeds(directory / "copy", size, flags.repeats, flags.cache)
            _print_copying(size, _input_bytes(directory / "copy"), seconds, flags.cache)
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="python -m benchmarks.select"
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the first job; 0 to leave it out")
    parser.add_argument("--samples_per_shard", type=int, default=4000, help="of the first job's input")
    parser.add_argument("--image_bytes", type=int, default=1000, help="of each image of the first job")
    parser.add_argument("--range_mb", type=float, default=64, help="of the first job: less cuts its shards into ranges")
    parser.add_argument("--copy_mb", type=int, default=2000, help="images of the second job; 0 to leave it out")
    parser.add_argument("--copy_photos", type=int, default=2000, help="how many are drawn; more images repeat them")
    parser.add_argument("--copy_image_kb", type=int, help="make the second job's images of noise, each of this size")
    parser.add_argument("--repeats", type=int, default=3, help="runs of the copying, and of cp and cat between them")
    parser.add_argument(
        "--cache", choices=("warm", "cold"), default="warm", help="whether the page cache has the input"
    )
    parser.add_argument("--dir", type=Path, help="where the jobs are made (default: a temporary directory)")
    parser.add_argument("--keep", action="store_true", help="leave them there; jobs that stand there are used again")
    return parser.parse_args(argv)


@contextlib.contextmanager
def _directory(given: Path | None, keep: bool) -> Iterator[Path]:
    """Makes the directory of the jobs: what is given, else a temporary one; removed at the end unless it is kept."""
    directory = given or Path(tempfile.mkdtemp(prefix="select-"))
    directory.mkdir(parents=True, exist_ok=True)
    try:
        yield directory
    finally:
        if not keep:
            for name in ("rows", "copy"):
                shutil.rmtree(directory / name, ignore_errors=True)
            if given is None:
                directory.rmdir()


def _make(directory: Path, size: JobSize) -> None:
    """Makes a scored job, unless the same one stands there."""
    made, content = directory / "made.txt", f"{size}, scoring version {SCORING_VERSION}"
    if made.is_file() and made.read_text() == content:
        return
    shutil.rmtree(directory, ignore_errors=True)
    seconds = seconds_of(lambda: make_scored_job(directory, size))
    made.write_text(content)
    print(f"made {size.samples:,} samples in {size.shards:,} shards in {seconds:.0f} s", flush=True)


def _size_to_copy(flags: argparse.Namespace) -> JobSize:
    """Sizes the second job: as many images as have the asked size, in shards of 64 MiB."""
    noise_bytes = (flags.copy_image_kb or 0) * 1000
    photographs = None if noise_bytes else make_shards(default_cache(), flags.copy_photos)
    mean_bytes = photographs.jpeg_bytes // photographs.images if photographs else noise_bytes
    samples, samples_per_shard = max(1, flags.copy_mb * MB // mean_bytes), max(1, SHARD_BYTES // mean_bytes)
    return JobSize(samples, samples_per_shard, photographs or noise_bytes)


def _input_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in (directory / "raw").iterdir())


def reselect(directory: Path, size: JobSize) -> TimedJob:
    """Finishes a job of this size, and selects from it again with new thresholds: gives the second run."""
    _make(directory, size)
    flags = flags_of_job(directory, size)
    run_job(directory, [*flags, *KEEP_FEW])
    os.sync()
    return run_job(directory, [*flags, *KEEP_MORE])


def copy_speeds(directory: Path, size: JobSize, repeats: int, cache: str) -> dict[str, list[float]]:
    """Seconds to copy all input shards, by what copies: the job (from its first output shard to its last), cp, cat.

    They take turns. Before each, what was written is flushed, the input is brought into the page cache or thrown out of
    it, and more memory is touched than is to be written: the job writes embeddings and records as well.
    """
    _make(directory, size)
    run_job(directory, [*flags_of_job(directory, size), *KEEP_NONE])

    def from_the_same_start(copy: Callable[[], float]) -> Callable[[], float]:
        def run() -> float:
            os.sync()
            _prepare_cache(sorted((directory / "raw").iterdir()), cache)
            return copy()

        return run

    touched = _input_bytes(directory) * 5 // 4
    ways = {
        "job": lambda: _copy_with_job(directory, size, touched),
        "cp -r": lambda: _copy_with(directory, 'cp -r "$1" "$2/"', touched),
        "cat": lambda: _copy_with(directory, 'cat "$1"/*.tar > "$2/all.tar"', touched),
    }
    return interleaved({name: from_the_same_start(copy) for name, copy in ways.items()}, repeats)


def _prepare_cache(paths: Sequence[Path], cache: str) -> None:
    for path in paths:
        with path.open("rb") as file:
            if cache == "cold":
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            else:
                while file.read(1 << 20):
                    pass


def _copy_with_job(directory: Path, size: JobSize, touched_bytes: int) -> float:
    for path in (directory / "curated").glob("[0-9]*"):
        path.unlink()
    return run_job(directory, [*flags_of_job(directory, size), *KEEP_ALL], touched_bytes).copying_seconds


def _copy_with(directory: Path, command: str, touched_bytes: int) -> float:
    source, target = directory / "raw", directory / "copied"
    target.mkdir()
    touch_memory(directory, touched_bytes)
    seconds = seconds_of(lambda: subprocess.run(["sh", "-c", command, "sh", str(source), str(target)], check=True))
    shutil.rmtree(target)
    return seconds


def _print_reselection(size: JobSize, job: TimedJob) -> None:
    print(f"\nRe-selecting {size.samples:,} rows of {size.shards:,} shards: aesthetic >= 5.5, where it was >= 6.5")
    print("From the start of the process; phases overlap, the rest is Beam and what Python loads.\n")
    phases = [
        [name, f"{phase.busy:.2f}", f"{phase.calls:,}", f"{phase.busy / size.samples * 1e6:.1f}"]
        for name, phase in job.phases.items()
    ]
    before, whole = job.seconds_before_copying, job.seconds
    phases += [
        ["all before copying", f"{before:.2f}", "", f"{before / size.samples * 1e6:.1f}"],
        ["the whole job", f"{whole:.2f}", "", f"{whole / size.samples * 1e6:.1f}"],
    ]
    print(markdown(["phase", "seconds", "calls", "us/row"], phases))
    print(f"\nPeak memory {job.peak_rss_bytes / MB:,.0f} MB.")


def _print_copying(size: JobSize, input_bytes: int, seconds: Mapping[str, Sequence[float]], cache: str) -> None:
    rates = {name: input_bytes / MB / median(list(taken)) for name, taken in seconds.items()}
    kind = "images of noise" if isinstance(size.images, int) else "drawn photographs"
    each = f"{input_bytes / size.samples / 1000:,.0f} KB a sample"
    print(f"\nCopying {size.samples:,} {kind}, {each}, page cache {cache}, median of turns")
    print("(writes end in the page cache; what was written before is flushed before each turn).\n")
    table = [
        [name, f"{rate:,.0f}", f"{rate / rates['cp -r']:.2f}", ", ".join(f"{taken:.2f}" for taken in seconds[name])]
        for name, rate in rates.items()
    ]
    print(markdown(["copied with", "MB/s", "of cp", "seconds of each turn"], table))


if __name__ == "__main__":
    sys.exit(main())
