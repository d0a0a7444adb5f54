"""Estimates how long a job will take, and what it will cost: arithmetic on what is left to do and on a measured
rate."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from beam_curator.commands.estimated_steps import Step
from beam_curator.commands.progress_line import duration, rate_text
from beam_curator.first_few import counted, size_text
from beam_curator.sources.listed_files import NOMINAL_BYTES


@dataclasses.dataclass(frozen=True)
class Left:
    """The images that are left to score.

    Attributes:
      images: number of images that are not scored, perhaps an estimate.
      exact: whether `images` is exact.
      counted_by: how `images` was estimated, for people; "" if it is exact.
      ranges: number of ranges that they are in; each is scored by one worker.
      bytes: size of these ranges; images whose size nobody knows count as `unsized_bytes`.
      scored: number of samples that are scored already.
      unsized: number of images of the input whose size the input does not tell.
      unsized_bytes: what each of these has: the mean of those that are scored already, else `NOMINAL_BYTES`.
      measured: of how many of them that is the mean; 0 where it is assumed.
    """

    images: float
    exact: bool
    ranges: int
    bytes: int
    scored: int
    counted_by: str = ""
    unsized: int = 0
    unsized_bytes: float = NOMINAL_BYTES
    measured: int = 0


@dataclasses.dataclass(frozen=True)
class Rate:
    """The speed at which one worker scores.

    Attributes:
      images_per_second: rate of one worker.
      source: where it was measured, for people.
      loading_seconds: time until the first images are embedded.
      detail: what else a trial measured, for people; "" without a trial.
    """

    images_per_second: float
    source: str
    loading_seconds: float = 0.0
    detail: str = ""


@dataclasses.dataclass(frozen=True)
class Point:
    """The scoring by some number of workers.

    Attributes:
      workers: how many workers.
      seconds: how long they take, loading included.
      images_per_second: rate of all workers together.
      bytes_per_second: how fast all workers together read the input.
      cost: cost of all workers together; None without a price.
      bound: why more workers are not faster: "ranges" (each has one), "bucket" (it gives no more), or "" if they are.
    """

    workers: int
    seconds: float
    images_per_second: float
    bytes_per_second: float
    cost: float | None
    bound: str


def curve(left: Left, rate: Rate, price_per_hour: float | None, bucket_bytes: float | None) -> list[Point]:
    """Estimates scoring by 1, 2, 4, ... workers, until more of them are no faster: when each has one range, or when the
    bucket gives no more.

    Args:
      left: what is to be scored.
      rate: of one worker.
      price_per_hour: of one worker.
      bucket_bytes: how many bytes a second the input's storage gives to all together; None for no bound.
    """
    points: list[Point] = []
    workers = 1
    while left.ranges and left.images:
        point = _point(min(workers, left.ranges), left, rate, price_per_hour, bucket_bytes)
        points.append(point)
        if point.bound:
            break
        workers *= 2
    return points


def _point(workers: int, left: Left, rate: Rate, price_per_hour: float | None, bucket_bytes: float | None) -> Point:
    rounds = math.ceil(left.ranges / workers)  # the last workers have a range left when the others have none
    seconds = rounds * left.images / left.ranges / rate.images_per_second
    bound = "ranges" if workers == left.ranges else ""
    if bucket_bytes is not None and left.bytes / seconds > bucket_bytes:
        seconds, bound = left.bytes / bucket_bytes, "bucket"
    paid = rate.loading_seconds + seconds
    cost = None if price_per_hour is None else workers * paid / 3600 * price_per_hour
    return Point(workers, paid, left.images / seconds, left.bytes / seconds, cost, bound)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The facts that are told of a job before it runs.

    Attributes:
      left: to score.
      rate: of one worker; None where nobody knows it.
      planning_seconds: what planning took just now.
      selecting_seconds: about what selecting takes, without the other steps.
      selecting_source: how that is known.
      points: scoring by more and more workers.
      price_per_hour: of one worker.
      steps: what comes beside scoring and selecting, in order.
      unknown: where nobody knows the rate, why, and what to do.
    """

    left: Left
    rate: Rate | None
    planning_seconds: float
    selecting_seconds: float
    selecting_source: str
    points: list[Point]
    price_per_hour: float | None = None
    steps: tuple[Step, ...] = ()
    unknown: str = ""

    @property
    def as_json(self) -> dict[str, Any]:
        """The content as JSON."""
        return dataclasses.asdict(self)


def described(estimate: Estimate) -> list[str]:
    """The lines of an estimate."""
    left, rate = estimate.left, estimate.rate
    how = "" if left.exact else "about "
    images = f"{how}{round(left.images):,} images"
    lines = [f"to score   {images}, {size_text(left.bytes)} in {counted(left.ranges, 'range')}"]
    lines += [f"           {left.counted_by}"] if left.counted_by else []
    lines += [f"sizes      {_sizes(left)}"] if left.unsized else []
    if left.scored:
        lines.append(f"scored     {left.scored:,} samples already")
    lines.append(f"planning   {duration(estimate.planning_seconds)}, as it took just now")
    if rate is not None and (left.images or rate.detail):  # a trial may have left none
        lines.append(f"rate       {rate_text(rate.images_per_second)} images/s a worker: {rate.source}")
        lines += [f"           {rate.detail}"] if rate.detail else []
    if not left.images:
        lines.append("scoring    no image is left to be embedded")
    else:
        lines.append(f"scoring    {f'unknown: {estimate.unknown}' if rate is None else _scoring(estimate.points[0])}")
    lines.append(f"selecting  about {duration(estimate.selecting_seconds)}: {estimate.selecting_source}")
    lines += map(_step, estimate.steps)
    lines += _in_all(estimate)
    return [*lines, *(_table(estimate.points) if len(estimate.points) > 1 else [])]


def _sizes(left: Left) -> str:
    """What images are taken for whose size the input does not tell."""
    each = f"{size_text(left.unsized_bytes)} for each of {counted(left.unsized, 'image')}"
    if not left.measured:
        return f"assumed: {each}, for nobody knows them before they are read; bytes and ranges follow from it"
    ranges = f"ranges are cut as if they had {size_text(NOMINAL_BYTES)}"
    return f"{each}: the mean of the {left.measured:,} that were read already; {ranges}"


def _step(step: Step) -> str:
    if step.seconds is None:
        return f"{step.name:<9}  unknown: {step.what}"
    at_most = "about" if step.name in ("columns", "report") else "at most about"
    return f"{step.name:<9}  {at_most} {duration(step.seconds)}: {step.what} ({step.source})"


def _in_all(estimate: Estimate) -> list[str]:
    """The sum, where all that it is made of is known."""
    known = [step.seconds for step in estimate.steps if step.seconds is not None]
    if (estimate.left.images and not estimate.points) or len(known) < len(estimate.steps):
        return []
    scoring = estimate.points[0].seconds if estimate.points else 0.0
    together = estimate.planning_seconds + scoring + estimate.selecting_seconds + sum(known)
    return [f"in all     at most about {duration(together)} on one worker"]


def _scoring(point: Point) -> str:
    cost = "" if point.cost is None else f", {point.cost:,.2f} at the given price"
    return f"about {duration(point.seconds)} on one worker{cost}"


def _table(points: list[Point]) -> list[str]:
    has_cost = points[0].cost is not None
    heads = ["workers", "images/s", "scoring", "reads", *(["cost"] if has_cost else [])]
    cells = [
        [
            f"{one.workers:,}",
            rate_text(one.images_per_second),
            duration(one.seconds),
            f"{size_text(one.bytes_per_second)}/s",
            *([f"{one.cost:,.2f}"] if one.cost is not None else []),
        ]
        for one in points
    ]
    widths = [max(len(row[place]) for row in [heads, *cells]) for place in range(len(heads))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in [heads, *cells]]
    last = points[-1]
    ends = {
        "ranges": f"more than {last.workers:,} workers are no faster: each has one range then (--range_mb makes more)",
        "bucket": f"more than {last.workers:,} workers are no faster: the bucket gives no more",
    }
    return ["", *lines, ends[last.bound], "(supposed: all begin at once, and none slows another down)"]
