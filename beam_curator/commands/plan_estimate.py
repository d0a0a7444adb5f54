"""How long a planned job will take: what is left to score, how fast, and the steps after it."""

from __future__ import annotations

import bisect
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from beam_curator.commands.dry_run_flags import DryRun
from beam_curator.commands.estimated_steps import Step, adding_columns, comparing, reading_fields, reporting, writing
from beam_curator.commands.estimating import Estimate, Left, Rate, curve, described
from beam_curator.commands.measured_rates import (
    SELECTING_SECONDS_A_ROW,
    SELECTING_SOURCE,
    SELECTING_START_SECONDS,
    SELECTING_TOGETHER_SECONDS_A_ROW,
    is_measured,
    measured_rates,
)
from beam_curator.commands.plan import Plan
from beam_curator.first_few import counted
from beam_curator.phases import SCORING
from beam_curator.samples import ShardRange
from beam_curator.sources.counting import Density, density_of
from beam_curator.sources.listed_files import NOMINAL_BYTES, unsized, unsized_rows

_NO_RATE = "no rate of this encoder was measured: --trial 200{} scores some images to see"
_NOTHING_EMBEDDED = "none of the trial's images could be embedded: the same command again tries others"

LEAST_IMAGES = 50
"""The images that the last run must have had, so that its time tells how fast the next one is."""


def left_to_score(plan: Plan, density: Density) -> Left:
    """Counts how much of the input has no scores yet."""
    unscored = plan.unscored
    rows = [range for range in unscored if range.shard.format]
    tars = [range for range in unscored if not range.shard.format]
    exact = not tars or (density.whole and len(unscored) == len(plan.stored))
    of_tars = density.samples if exact else sum(map(density.samples_in, tars))
    images = of_tars + sum(map(density.samples_in, rows))
    mean, measured = mean_of_unsized(plan)
    looked_at = f"by the headers of {counted(density.samples, 'sample')} in {counted(density.tars, 'tar')} of them"
    return Left(
        images,
        exact,
        len(unscored),
        _bytes_of(unscored, mean),
        plan.scored_samples,
        "" if exact else looked_at,
        sum(map(unsized, plan.shards)),
        mean,
        measured,
    )


def mean_of_unsized(plan: Plan) -> tuple[float, int]:
    """Computes the mean size of those images whose size the input does not tell and that are scored already, as by a
    trial; and how many these are. Where there are none, it is `NOMINAL_BYTES` of 0."""
    total = count = 0
    for range, stored in zip(plan.ranges, plan.stored, strict=True):
        rows = _unsized_in(range) if stored is not None else []
        if stored is not None and rows:
            table = stored.batch.rows
            there = pc.is_in(table["offset"], pa.array(rows, pa.int64()))
            sizes = table["bytes"].filter(there).drop_null()
            total, count = total + (pc.sum(sizes).as_py() or 0), count + len(sizes)
    return (total / count, count) if total else (float(NOMINAL_BYTES), 0)


def _bytes_of(ranges: Sequence[ShardRange], of_unsized: float) -> int:
    """The size of ranges, if an image whose size the input does not tell has so many bytes."""
    more = of_unsized - NOMINAL_BYTES
    return round(sum(range.size_bytes + (more * len(_unsized_in(range)) if more else 0) for range in ranges))


def _unsized_in(range: ShardRange) -> list[int]:
    """The rows of a range whose size the input does not tell."""
    rows = _unsized_rows(range.shard)
    return rows[bisect.bisect_left(rows, range.start) : bisect.bisect_left(rows, range.end)]


_unsized_rows = functools.lru_cache(maxsize=4)(unsized_rows)  # ranges of a shard follow each other


def known_rate(
    plan: Plan, manifest: Mapping[str, Any] | None, precision: str, device: Callable[[], str] = lambda: "cpu"
) -> Rate | None:
    """Finds how fast the last run in the directory was; else how fast the encoder was on a machine of ours; else None.

    Args:
      plan: the job.
      manifest: of the last run in the output directory, if there was one.
      precision: that is asked for.
      device: tells what scores, "cpu" or "cuda"; it is asked where the encoder was measured.
    """
    rate = rate_of_run(manifest, plan.output)
    if rate is not None:
        return rate
    encoder = plan.wanted.encoder.name
    found = measured_rates(encoder, precision, device()) if is_measured(encoder) else []
    if not found:
        return None
    first = found[0]
    source = f"{first.precision}, measured on {first.machine} ({first.source}), without loading"
    return Rate(first.images_per_second, f"{source}; --trial 200 measures here{_elsewhere(manifest)}")


def rate_of_run(manifest: Mapping[str, Any] | None, output: str) -> Rate | None:
    """Reads from the manifest how fast a run scored; None where it scored few images or none, as one that selected
    again.

    Args:
      manifest: of the run, if there was one.
      output: its directory.
    """
    timings = (manifest or {}).get("timings") or {}
    for phase in timings.get("phases") or ():
        of_enough = phase.get("phase") == SCORING and phase.get("samples", 0) >= LEAST_IMAGES
        if of_enough and phase.get("samples_per_second"):
            when = timings.get("started")
            return Rate(phase["samples_per_second"], f"the run of {when} in {output}, all its workers together")
    return None


def _elsewhere(manifest: Mapping[str, Any] | None) -> str:
    """Says where a trial is possible: not where a finished job stands."""
    return "" if manifest is None else ", with another --output"


def estimate_of(
    plan: Plan,
    rate: Rate | None,
    asked: DryRun,
    duplicates: Sequence[str] = (),
    manifest: Mapping[str, Any] | None = None,
    waits: bool = False,
    reports: bool = True,
) -> Estimate:
    """Estimates how long the job will take.

    Args:
      plan: the job.
      rate: how fast a worker scores, if that is known.
      asked: the flags of the dry run.
      duplicates: the kinds that are looked for.
      manifest: of the last run in the output directory, if there was one.
      waits: whether anything is decided by all samples together.
      reports: whether a report is written.

    Raises:
      StorageError: when headers of tars cannot be read, after retries.
    """
    left = left_to_score(plan, density_of(plan.unscored))
    bucket = None if asked.bucket_mb_per_second is None else asked.bucket_mb_per_second * 1e6
    points = curve(left, rate, asked.price_per_hour, bucket) if rate is not None else []
    a_row = SELECTING_TOGETHER_SECONDS_A_ROW if waits else SELECTING_SECONDS_A_ROW
    selecting = SELECTING_START_SECONDS + a_row * (left.images + left.scored)
    unknown = _NOTHING_EMBEDDED if asked.trial else _NO_RATE.format(_elsewhere(manifest))
    return Estimate(
        left,
        rate,
        plan.seconds,
        selecting,
        SELECTING_SOURCE,
        points,
        asked.price_per_hour,
        _steps(plan, left, duplicates, manifest, reports),
        unknown if left.images and rate is None else "",
    )


def _steps(
    plan: Plan, left: Left, duplicates: Sequence[str], manifest: Mapping[str, Any] | None, reports: bool
) -> tuple[Step, ...]:
    """The steps besides scoring and selecting."""
    lacking = [(stored, stored.lacking(plan.wanted.steps)) for stored in plan.stored if stored is not None]
    steps = {step.name: step for _, lacked in lacking for step in lacked}
    rows = sum(len(stored.batch) for stored, lacked in lacking if lacked)
    fieldless = sum(len(stored.batch) for stored, _ in lacking if stored.lacks_fields)
    together = left.images + left.scored
    found = [
        adding_columns(rows, list(steps), {step.needs for step in steps.values()}),
        reading_fields(fieldless),
        comparing(together, duplicates),
        writing(together, _bytes_of(plan.ranges, left.unsized_bytes), manifest, plan.output),
        reporting(together) if reports else None,
    ]
    return tuple(step for step in found if step is not None)


def estimate_lines(estimate: Estimate) -> list[str]:
    """An estimate, as lines below a plan."""
    return ["  estimate:", *(f"    {line}".rstrip() for line in described(estimate))]
