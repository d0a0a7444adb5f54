"""Measures how long selecting anew takes of a finished job: conditions, fractions, a list, a preset; and DataComp's own
rules.

python -m benchmarks.selecting                          1,000,000 rows
python -m benchmarks.selecting --rows 10000000 --dim 16    memory at ten times as many
python -m benchmarks.selecting --rows 200000 --dir /tmp/selecting --keep
python -m benchmarks.selecting --dim 16 --report_turns 3   what the report adds
python -m benchmarks.selecting --rows 10000000 --dim 16 --report_turns 1 --bare   to one threshold alone

A finished job of many rows is made first (minutes). Then the main job selects from it, and a preview looks at the
same, each in a fresh process. Beside it stand the rules of DataComp's baselines (`basic_filter`, `clip_score`; the
script is no package, so they are written here), on the same rows, in one process: which samples each keeps, and how
long it takes. The language of a caption is the one that is stored, for both.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd  # type: ignore[import-untyped]

from beam_curator.exports.datacomp_uids import export_datacomp_uids
from benchmarks.finished_job import job_directory, job_parser, make_once
from benchmarks.select_job import TimedJob, run_job
from benchmarks.selecting_data import ScoredRows, flags_of, make_list, make_scored_rows
from benchmarks.tables import markdown
from benchmarks.timing import cpu_seconds_of, interleaved, median

SELECTION = (
    *("--preset", "datacomp-basic"),
    *("--where", "aesthetic >= 5 AND (similarity > 0.2 OR caption ILIKE '%photo%')"),
    *("--where", "nsfw < 0.4 AND language_probability > 0.5"),
    *("--where", "json.original_width * json.original_height >= 90000"),
    *("--max_caption_repeats", "10"),
    *("--keep_top", "similarity=0.3", "--keep_top", "aesthetic=0.5"),
)
KEEP_NONE = ("--min_aesthetic", "10")
A_THRESHOLD = "a threshold"
PEER_ROWS = 200_000
REPORT_COLUMNS = (
    *("selection", "CPU s without a report", "with it", "added"),
    *("s by the clock without", "with it", "added", "memory without, MB", "with it"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Makes the job, measures, and prints the tables."""
    flags = _parse(argv)
    with job_directory(flags, "selecting") as directory:
        size = ScoredRows(flags.rows, flags.rows_per_shard, flags.dim)
        make_once(directory, size, lambda: _make(directory, size))
        if flags.bare:
            print(markdown(REPORT_COLUMNS, [added_by_report(directory, A_THRESHOLD, KEEP_NONE, flags.report_turns)]))
            return 0
        block = make_list(directory, flags.listed)
        selection = [*SELECTION, "--block", f"sha256={block}"]
        given = [*flags_of(directory), *selection]
        _print_selection(size, flags.listed, run_job(directory, given), run_job(directory, [*given, "--preview"]))
        if flags.report_turns:
            print(
                markdown(REPORT_COLUMNS, with_and_without_report(directory, selection, flags.report_turns)), flush=True
            )
        if flags.peer:
            _print_peers(*beside_datacomp(directory, size))
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = job_parser("selecting", __doc__)
    parser.add_argument("--rows_per_shard", type=int, default=4000, help="of its input")
    parser.add_argument("--dim", type=int, default=768, help="length of the embeddings, which nobody looks at")
    parser.add_argument("--listed", type=int, default=1_000_000, help="entries of the block list")
    parser.add_argument("--report_turns", type=int, default=0, help="times to select with a report and without one")
    parser.add_argument("--bare", action="store_true", help="measure what a report adds to one threshold, and no more")
    parser.add_argument("--peer", type=int, default=1, help="0 to leave DataComp's rules out")
    flags = parser.parse_args(argv)
    if flags.bare and not flags.report_turns:
        parser.error("--bare: say how often, by --report_turns")
    return flags


def _make(directory: Path, size: ScoredRows) -> None:
    """A job that has run to its end, with a selection that keeps nothing."""
    make_scored_rows(directory, size)
    run_job(directory, [*flags_of(directory), *KEEP_NONE])


def with_and_without_report(directory: Path, everything: Sequence[str], turns: int) -> list[list[str]]:
    """A line for a threshold that keeps nothing, and one for all rules: what a report adds to selecting, medians."""
    return [
        added_by_report(directory, A_THRESHOLD, KEEP_NONE, turns),
        added_by_report(directory, "all of the above", everything, turns),
    ]


def added_by_report(directory: Path, name: str, selection: Sequence[str], turns: int) -> list[str]:
    """A line for a selection: what a report adds to it, medians of so many turns."""
    given = [*flags_of(directory), *selection, "--report"]
    ways = {report: functools.partial(run_job, directory, [*given, report]) for report in ("false", "true")}
    jobs = interleaved(ways, turns)
    memory = [f"{max(job.peak_rss_bytes for job in jobs[report]) / 1e6:,.0f}" for report in ("false", "true")]
    by_cpu, by_clock = (_added(jobs, seconds) for seconds in ("cpu_seconds", "seconds"))
    return [name, *by_cpu, *by_clock, *memory]


def _added(jobs: Mapping[str, Sequence[TimedJob]], seconds: str) -> list[str]:
    """The seconds without a report and with it, and what that adds."""
    without, with_it = (median([getattr(job, seconds) for job in jobs[report]]) for report in ("false", "true"))
    return [f"{without:.2f}", f"{with_it:.2f}", f"{with_it / without - 1:+.1%}"]


def beside_datacomp(directory: Path, size: ScoredRows) -> tuple[int, list[list[str]]]:
    """Counts how many rows were compared, and makes a line for each rule: what it keeps here and there, and in what
    time."""
    shards = max(1, min(size.shards, PEER_ROWS // size.rows_per_shard))
    metadata = sorted((directory / "metadata").iterdir())[:shards]
    ways: dict[str, Callable[[Sequence[Path]], np.ndarray]] = {
        "datacomp-basic": basic_filter,
        "datacomp-clip-l14-30": clip_score,
    }
    lines = []
    for preset, rule in ways.items():
        output = directory / preset
        flags = [*flags_of(directory), "--input_format", "webdataset", "--preset", preset]
        flags[flags.index("--input") + 1] = str(directory / "raw" / f"{{00000..{shards - 1:05d}}}.tar")
        flags[flags.index("--output") + 1] = str(output)
        job = run_job(directory, [*flags, "--scores_from", str(directory / "curated")])
        subset = directory / f"{preset}.npy"
        export_datacomp_uids(str(output), str(subset))
        ours, theirs = np.load(subset), np.empty(0, "u8,u8")

        def peer(rule: Callable[[Sequence[Path]], np.ndarray] = rule) -> None:
            nonlocal theirs
            theirs = rule(metadata)

        seconds = cpu_seconds_of(peer)
        other = len(np.setxor1d(ours, theirs))
        times = [f"{job.cpu_seconds:.1f}", f"{seconds:.1f}"]
        lines.append([preset, f"{len(ours):,}", f"{len(theirs):,}", f"{other:,}", *times])
    return shards * size.rows_per_shard, lines


def basic_filter(metadata: Sequence[Path]) -> np.ndarray:
    """DataComp's `basic_filter`: sorted uids as u8,u8."""
    kept = []
    for path in metadata:
        found = pd.read_parquet(path, columns=["uid", "text", "original_width", "original_height", "language"])
        least = np.minimum(found.original_width, found.original_height)
        most = np.maximum(found.original_width, found.original_height)
        words, characters = found.text.map(lambda text: len(text.split())), found.text.map(len)
        is_kept = (found.language == "en") & (words > 2) & (characters > 5) & (least >= 200) & (most / least <= 3.0)
        kept.append(_uids(found.uid[is_kept]))
    return np.sort(np.concatenate(kept))


def clip_score(metadata: Sequence[Path]) -> np.ndarray:
    """Keeps the best 30 % as DataComp's `clip_score` does; returns their uids, sorted, as u8,u8."""
    column = "clip_l14_similarity_score"
    scores = np.concatenate([pd.read_parquet(path, columns=[column])[column].to_numpy() for path in metadata])
    threshold = np.sort(scores)[::-1][int(len(scores) * 0.3)]
    tables = (pd.read_parquet(path, columns=["uid", column]) for path in metadata)
    return np.sort(np.concatenate([_uids(table.uid[table[column] >= threshold]) for table in tables]))


def _uids(texts: pd.Series) -> np.ndarray:
    return np.array([(int(text[:16], 16), int(text[16:], 16)) for text in texts], "u8,u8")


def _print_selection(size: ScoredRows, listed: int, job: TimedJob, preview: TimedJob) -> None:
    print(f"\nSelecting {size.rows:,} rows of {size.shards:,} shards: a preset, three --where, --max_caption_repeats,")
    print(f"a block list of {listed:,} entries, two --keep_top. Phases are of all threads, and overlap.\n")
    table = [
        [name, f"{phase.busy:.2f}", f"{phase.calls:,}", f"{phase.busy / size.rows * 1e6:.1f}"]
        for name, phase in job.phases.items()
        if phase.calls
    ]
    for name, seconds in (
        ("all before copying", job.seconds_before_copying),
        ("the whole job", job.seconds),
        ("CPU time of the whole job", job.cpu_seconds),
        ("a preview, the whole process", preview.seconds),
        ("CPU time of that", preview.cpu_seconds),
    ):
        table.append([name, f"{seconds:.2f}", "", f"{seconds / size.rows * 1e6:.1f}"])
    print(markdown(["phase", "seconds", "calls", "us/row"], table))
    for name, one in (("job", job), ("preview", preview)):
        print(f"\nPeak memory of the {name}: {one.peak_rss_bytes / 1e9:.2f} GB.", end="")
    print(
        "\n\n" + "\n".join(line for line in job.output.splitlines() if line.startswith("  ") and "look at" not in line)
    )


def _print_peers(rows: int, lines: Sequence[Sequence[str]]) -> None:
    print(f"\nThe rules of DataComp's baselines beside the presets, on {rows:,} rows. CPU seconds of ours are those of")
    print("the whole job: the start of the process, the ledger of all samples, and copying what is kept.\n")
    header = ["rule", "kept by us", "kept by theirs", "by one alone", "ours, CPU s", "theirs, CPU s"]
    print(markdown(header, lines), flush=True)


if __name__ == "__main__":
    sys.exit(main())
