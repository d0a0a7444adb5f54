"""Peak memory of the main job at 1, 4 and 16 times the input, all of it kept and copied.

python -m benchmarks.memory

Each run is a fresh process with the tiny untrained model. More input is the same shards again under other names
(links), so that only how much goes through is different. Once is more than what is in hand at a time: three ranges
being read, scored and written. Two kinds: photographs, and large uncompressed images, which are many bytes for little
work.
"""

import argparse
import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import photos
from benchmarks.processes import ProcessRun, run_python
from benchmarks.tables import machine, markdown

BITMAP_SIDE = 1024


@dataclass(frozen=True)
class Input:
    """Shards that are to be curated once, or several times over."""

    kind: str
    tars: Sequence[Path]
    images: int

    @property
    def size_bytes(self) -> int:
        """The size of all shards, once."""
        return sum(tar.stat().st_size for tar in self.tars)


def bitmaps(directory: Path, images: int, images_per_shard: int) -> Input:
    """Shards of uncompressed images of 3 MB each."""
    directory.mkdir(parents=True)
    rng = np.random.default_rng(0)
    picture = directory / "picture.bmp"
    tars = []
    for first in range(0, images, images_per_shard):
        Image.fromarray(rng.integers(0, 255, (BITMAP_SIDE, BITMAP_SIDE, 3), dtype=np.uint8)).save(picture)
        tars.append(directory / f"{first:08d}.tar")
        with tarfile.open(tars[-1], "w") as tar:
            for index in range(first, min(images, first + images_per_shard)):
                tar.add(picture, f"{index:08d}.bmp")
    picture.unlink()
    return Input("bitmaps", tars, images)


def peak_of(source: Input, times: int, work: Path) -> ProcessRun:
    """Runs the main job on a source that is repeated, in a process of its own."""
    raw = work / "raw"
    raw.mkdir()
    for repeat in range(times):
        for tar in source.tars:
            _link(tar, raw / f"{repeat:03d}-{tar.name}")
    flags = ["--clip_model", "tiny-untrained", "--min_aesthetic", "-100", "--max_nsfw", "2"]
    try:
        return run_python(["-m", "pipelines.curate_images", "--input", str(raw), "--output", str(work / "out"), *flags])
    finally:
        shutil.rmtree(raw)
        shutil.rmtree(work / "out", ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        target.symlink_to(source)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, and prints a table for each kind of image."""
    flags = _parse(argv)
    print(machine())
    flags.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="memory-", dir=flags.cache) as work:
        sources = []
        if flags.images:
            drawn = photos.shards_of(flags)
            sources.append(Input("photographs", drawn.tars, drawn.images))
        if flags.bitmaps:
            sources.append(bitmaps(Path(work) / "bitmaps", flags.bitmaps, flags.bitmaps_per_shard))
        for source in sources:
            runs = {times: peak_of(source, times, Path(work)) for times in flags.times}
            print(f"\n{report(source, runs)}", flush=True)
    return 0


def report(source: Input, runs: dict[int, ProcessRun]) -> str:
    """The table of one kind of image."""
    least = min(runs)
    rows = []
    for times, measured in runs.items():
        more_rows = (times - least) * source.images
        growth = measured.peak_bytes - runs[least].peak_bytes
        rows.append(
            [
                f"{times}x",
                f"{times * source.images:,}",
                f"{times * source.size_bytes / 1e9:.2f} GB",
                f"{measured.peak_bytes / 1e6:.0f} MB",
                f"{measured.peak_bytes / runs[least].peak_bytes:.3f}",
                f"{growth / more_rows / 1e3:+.2f} KB" if more_rows else "",
                f"{measured.seconds:.0f} s",
            ]
        )
    header = [source.kind, "images", "input", "peak memory", f"of {least}x", "growth a row", "time"]
    return markdown(header, rows)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.memory", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    photos.add_flags(parser, images=2000)
    parser.add_argument("--bitmaps", type=int, default=132, help="uncompressed images in 1x (default %(default)s)")
    parser.add_argument("--bitmaps_per_shard", type=int, default=22, help="of 3 MB each (default %(default)s)")
    parser.add_argument("--times", type=int, nargs="+", default=[1, 4, 16], help="(default 1 4 16)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
