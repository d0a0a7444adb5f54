"""Measures how long another head takes on a finished job: its scores are computed from the stored embeddings.

python -m benchmarks.rescore                          1,000,000 rows of 768 numbers
python -m benchmarks.rescore --rows 50000 --dir /tmp/rescore --keep
python -m benchmarks.rescore --model_dir models       with the published heads, not with random ones of their shape

A finished job is made first (minutes). Then the main job runs on it, each time in a fresh process: with a threshold
that hardly anything passes, so that nothing is copied; with other heads; with those again; and with a scorer of one's
own beside them. No image is read. Phases are seconds of all threads together.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

import beam_curator as bc
from benchmarks.finished_job import job_directory, job_parser, make_once
from benchmarks.select_data import JobSize, flags_of_job, make_scored_job
from benchmarks.select_job import TimedJob, run_job
from benchmarks.tables import markdown

KEEP_NONE = ("--min_aesthetic", "10", "--max_nsfw", "0.5")
NSFW_WIDTHS = (768, 64, 512, 256, 1)


def main(argv: Sequence[str] | None = None) -> int:
    """Makes the job, measures, and prints the table."""
    flags = _parse(argv)
    with job_directory(flags, "rescore") as directory:
        size = JobSize(flags.rows, flags.samples_per_shard, flags.image_bytes)
        runs = rescore(directory, size, flags.model_dir)
        columns = ["run", "whole process, s", "CPU time, s", "reading embeddings, s", "scoring, s", "peak memory, GB"]
        print(markdown(columns, _rows(runs)))
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = job_parser("rescore", __doc__)
    parser.add_argument("--samples_per_shard", type=int, default=4000, help="of its input")
    parser.add_argument("--image_bytes", type=int, default=1000, help="of each image; none is read")
    parser.add_argument("--model_dir", help="with the published heads (default: random ones)")
    return parser.parse_args(argv)


def rescore(directory: Path, size: JobSize, model_dir: str | None) -> dict[str, TimedJob]:
    """Runs of the main job on a finished job of this size, by what they do."""
    make_once(directory, size, lambda: make_scored_job(directory, size))
    flags = [*flags_of_job(directory, size), *KEEP_NONE, "--accept_other_encoder"]
    untrained = ["--aesthetic_model", "untrained", "--nsfw_model", "untrained"]
    other = ["--aesthetic_model", "v2", "--nsfw_model", "laion", "--model_dir", str(model_dir)]
    other = other if model_dir else random_heads(directory)
    return {
        "the heads that scored it": run_job(directory, [*flags, *untrained]),
        "two other heads": run_job(directory, [*flags, *other]),
        "the same two again": run_job(directory, [*flags, *other]),
        "and a scorer of one's own": run_job(directory, [*flags, *other, "--scorer", "benchmarks.rescore:Direction"]),
    }


class Direction(bc.Scorer):
    """A scorer of one's own: the cosine of an embedding with a direction."""

    name = "direction"

    def __call__(self, embeddings: np.ndarray) -> np.ndarray:
        """float32 [n]."""
        return embeddings.astype(np.float32) @ np.full(embeddings.shape[1], embeddings.shape[1] ** -0.5, np.float32)


def random_heads(directory: Path) -> list[str]:
    """Flags that choose two heads with random weights, in the layouts of the published ones."""
    torch.manual_seed(0)
    aesthetic = {"weight": torch.randn(1, NSFW_WIDTHS[0]), "bias": torch.zeros(1)}
    nsfw = {"norm.mean": torch.zeros(NSFW_WIDTHS[0]), "norm.variance": torch.ones(NSFW_WIDTHS[0])}
    for index, (width_in, width_out) in enumerate(itertools.pairwise(NSFW_WIDTHS), start=1):
        nsfw |= {
            f"linear_{index}.weight": torch.randn(width_out, width_in) / width_in**0.5,
            f"linear_{index}.bias": torch.zeros(width_out),
        }
    paths = [directory / "aesthetic.pth", directory / "nsfw.pth"]
    for path, weights in zip(paths, (aesthetic, nsfw), strict=True):
        torch.save(weights, path)
    return ["--aesthetic_model", str(paths[0]), "--nsfw_model", str(paths[1])]


def _rows(runs: dict[str, TimedJob]) -> list[list[str]]:
    return [
        [
            name,
            f"{run.seconds:.1f}",
            f"{run.cpu_seconds:.1f}",
            *(f"{run.phases[phase].busy:.1f}" for phase in ("embeddings", "scoring")),
            f"{run.peak_rss_bytes / 1e9:.2f}",
        ]
        for name, run in runs.items()
    ]


if __name__ == "__main__":
    sys.exit(main())
