"""Measures what semantic duplicates take in a whole job, and what verifying them takes.

python -m benchmarks.duplicate_verify --rows 1000000 --dir /tmp/verify --keep     all with all
python -m benchmarks.duplicate_verify --rows 1000000 --dir /tmp/verify --keep --whole 100000     a sample, with all

A finished job is made first (minutes): shards of tiny images, and parts with the drawn vectors of
`benchmarks.duplicates`. The main job then drops duplicates in a process of its own, and what it dropped and kept is
checked in this one. Input and output are not compared byte by byte here, as `beam-curator verify` does besides.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from beam_curator.verification import duplicates, kept_duplicates, read_finished
from benchmarks.duplicate_vectors import make_vectors
from benchmarks.duplicates import Memory
from benchmarks.finished_job import job_directory, job_parser, make_once
from benchmarks.select_data import EMBEDDING_DIM, JobSize, flags_of_job, make_scored_job
from benchmarks.select_job import run_job
from benchmarks.tables import markdown

KEEP_ALL = ("--min_aesthetic", "none", "--max_nsfw", "none", "--report", "false")
_IMAGE_BYTES = 64


def main(argv: Sequence[str] | None = None) -> int:
    """Makes the job, runs it, checks it, and prints the table."""
    parser = job_parser("duplicate_verify", __doc__)
    parser.add_argument("--samples_per_shard", type=int, default=4000, help="of its input")
    parser.add_argument("--cosine", type=float, default=0.97)
    parser.add_argument("--whole", type=int, default=kept_duplicates.WHOLE, help="up to so many rows, all with all")
    flags = parser.parse_args(argv)
    with job_directory(flags, "duplicate_verify") as directory:
        made = directory / "job"
        size = JobSize(flags.rows, flags.samples_per_shard, _IMAGE_BYTES, embeddings=directory / "vectors")
        make_once(made, size, lambda: _make(made, size))
        wanted = ["--duplicates", "semantic", "--duplicate_cosine", str(flags.cosine)]
        job = run_job(made, [*flags_of_job(made, size), *KEEP_ALL, *wanted])
        print(f"the job: {job.cpu_seconds:.0f} s of a core, {job.peak_rss_bytes / 1e9:.2f} GB at most", flush=True)
        kept_duplicates.WHOLE = flags.whole
        print(
            markdown(["rows", "dropped", "kept", "compared with all", "s of a core", "s", "memory, GB"], [_row(made)])
        )
        print("memory: without what is mapped from temporary files: vectors, and who is in which cell")
    return 0


def _make(directory: Path, size: JobSize) -> None:
    assert size.embeddings is not None
    directory.parent.mkdir(parents=True, exist_ok=True)
    make_vectors(size.embeddings, size.samples, EMBEDDING_DIM, seed=7)
    make_scored_job(directory, size)


def _row(made: Path) -> list[str]:
    """Measures what is checked, and what it takes.

    Raises:
      SystemExit: for a job that is not as promised.
    """
    finished = read_finished(str(made / "curated"))
    with Memory() as memory:
        started, cpu = time.perf_counter(), time.process_time()
        checking = duplicates.check_duplicates(finished)
        try:
            raise SystemExit(f"not as promised: {next(checking)}")
        except StopIteration as ended:
            checked = ended.value
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    sampled = checked.kept if checked.sampled is None else checked.sampled
    counts = (checked.dropped + checked.kept, checked.dropped, checked.kept, sampled)
    return [*(f"{one:,}" for one in counts), f"{cpu:.0f}", f"{seconds:.0f}", f"{memory.most / 1e9:.2f}"]


if __name__ == "__main__":
    from beam_curator import process_tuning

    process_tuning.turn_on()  # as in the command
    sys.exit(main())
