"""The plan that a dry run prints: shards, ranges, what is scored already, models, and an estimate of the rest."""

from __future__ import annotations

import bisect
import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from beam_curator.commands.summary import doubts, missing_lines
from beam_curator.first_few import counted, lines_of, size_text
from beam_curator.output.added_columns import read_range
from beam_curator.output.plans import PLANNING_THREADS, planned_ranges
from beam_curator.output.score_parts import StoredRange
from beam_curator.output.score_steps import Wanted
from beam_curator.phases import SCORING
from beam_curator.reading import DEFAULT_READING, Reading
from beam_curator.samples import Shard, ShardRange
from beam_curator.sources.counting import Density, density_of
from beam_curator.sources.listed_files import NOMINAL_BYTES, unsized, unsized_rows
from beam_curator.sources.local_matching import Missing

_NO_RATE = "no rate of this encoder was measured: --trial 200{} scores some images to see"
_NOTHING_EMBEDDED = "none of the trial's images could be embedded: the same command again tries others"

LEAST_IMAGES = 50
"""The images that the last run must have had, so that its time tells how fast the next one is."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """A job before it runs.

    Attributes:
      output: the directory that holds the scores.
      shards: the shards of the input.
      planned: the ranges of each shard.
      stored: what is stored of each range, in the order of `ranges`; None where nothing is.
      wanted: what the job wants of each range.
      seconds: how long planning took.
    """

    output: str
    shards: Sequence[Shard]
    planned: Sequence[Sequence[ShardRange]]
    stored: Sequence[StoredRange | None]
    wanted: Wanted
    seconds: float

    @property
    def ranges(self) -> list[ShardRange]:
        """All ranges."""
        return [range for one in self.planned for range in one]

    @property
    def unscored(self) -> list[ShardRange]:
        """Ranges of which nothing is stored."""
        return [range for range, stored in zip(self.ranges, self.stored, strict=True) if stored is None]

    @property
    def scored_samples(self) -> int:
        """The number of samples in ranges of which something is stored."""
        return sum(len(one.batch) for one in self.stored if one is not None)

    @property
    def lacking(self) -> int:
        """The number of ranges that are embedded and lack columns."""
        return sum(bool(one.lacking(self.wanted.steps)) for one in self.stored if one is not None)

    @property
    def fieldless(self) -> int:
        """The number of ranges that are embedded while nobody looked for fields of their metadata."""
        return sum(one.lacks_fields for one in self.stored if one is not None)

    @property
    def anew(self) -> Plan:
        """The plan of a job that begins anew, so that nothing is stored."""
        return dataclasses.replace(self, stored=[None] * len(self.stored))


def look(
    output: str, shards: Sequence[Shard], range_mb: float, wanted: Wanted, reading: Reading = DEFAULT_READING
) -> Plan:
    """Plans a job and looks at what is scored; writes nothing.

    Raises:
      StorageError: when something cannot be read, after retries.
    """
    began = time.monotonic()
    planned = planned_ranges(output, shards, range_mb, reading)
    seconds = time.monotonic() - began
    ranges = [range for one in planned for range in one]
    with ThreadPoolExecutor(PLANNING_THREADS) as pool:
        stored = list(pool.map(lambda range: read_range(output, range, wanted), ranges))
    return Plan(output, shards, planned, stored, wanted, seconds)


def describe_plan(
    plan: Plan, range_mb: float, weights: Mapping[str, str], missing: Sequence[Missing] = (), tried: int | None = None
) -> str:
    """Says what a job would do: shards with their sizes and ranges, what is missing, what is scored already, models and
    their weights.

    Args:
      plan: the job.
      range_mb: about what a range has, in MiB.
      weights: where those of each step come from.
      missing: what the input lacks.
      tried: how many images were scored just now, to see how fast that is; None where none were to be.
    """
    head = "Dry run: no image is read, nothing is written."
    if tried is not None:
        head = f"Trial: {counted(tried, 'image')} scored and kept in {plan.output}; nothing is selected or copied."
    described_shards = [
        f"    {shard.url}  {_sizes([shard])}  {counted(len(one), 'range')}"
        for shard, one in zip(plan.shards, plan.planned, strict=True)
    ]
    lines = [head, f"  {counted(len(plan.shards), 'shard')}:", *lines_of(described_shards, "    ")]
    lines += missing_lines(missing)
    there = sum(one is not None for one in plan.stored)
    lines.append(
        f"  together {_sizes(plan.shards)} in {counted(len(plan.stored), 'range')} of about {range_mb:g} MiB, "
        f"{there - plan.lacking:,} of them scored already in {plan.output}"
    )
    if plan.lacking:
        lines.append(f"  {counted(plan.lacking, 'range')} embedded already, with columns to be computed from that")
    if plan.fieldless:
        what = "whose fields are to be read from the shards, embedding nothing"
        lines.append(f"  {counted(plan.fieldless, 'range')} {what}")
    models = plan.wanted.models
    lines += [f"  {step}: {identity}{_from(weights.get(step))}" for step, identity in models.items()]
    return "\n".join([*lines, *(f"  {line}" for line in doubts(models))])


def _sizes(shards: Sequence[Shard]) -> str:
    """Says how large shards are, as far as that is known."""
    size_bytes, unknown = sum(shard.size_bytes for shard in shards), sum(map(unsized, shards))
    told = [size_text(size_bytes)] if size_bytes or not unknown else []
    return " and ".join([*told, *([f"{counted(unknown, 'image')} of unknown size"] if unknown else [])])


def _from(path: str | None) -> str:
    return f"\n      from {path}" if path else ""


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
    for one in timings.get("phases") or ():
        if one.get("phase") == SCORING and one.get("samples", 0) >= LEAST_IMAGES and one.get("samples_per_second"):
            when = timings.get("started")
            return Rate(one["samples_per_second"], f"the run of {when} in {output}, all its workers together")
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
    lacking = [(one, one.lacking(plan.wanted.steps)) for one in plan.stored if one is not None]
    steps = {step.name: step for _, some in lacking for step in some}
    rows = sum(len(one.batch) for one, some in lacking if some)
    fieldless = sum(len(one.batch) for one, _ in lacking if one.lacks_fields)
    together = left.images + left.scored
    found = [
        adding_columns(rows, list(steps), {step.needs for step in steps.values()}),
        reading_fields(fieldless),
        comparing(together, duplicates),
        writing(together, _bytes_of(plan.ranges, left.unsized_bytes), manifest, plan.output),
        reporting(together) if reports else None,
    ]
    return tuple(one for one in found if one is not None)


def estimate_lines(estimate: Estimate) -> list[str]:
    """An estimate, as lines below a plan."""
    return ["  estimate:", *(f"    {line}".rstrip() for line in described(estimate))]
