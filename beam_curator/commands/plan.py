"""The plan that a dry run prints: shards, ranges, what is scored already, and models."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from beam_curator.commands.summary import doubts, missing_lines
from beam_curator.first_few import counted, lines_of, size_text
from beam_curator.output.added_columns import read_range
from beam_curator.output.plans import PLANNING_THREADS, planned_ranges
from beam_curator.output.score_parts import StoredRange
from beam_curator.output.score_steps import Wanted
from beam_curator.reading import DEFAULT_READING, Reading
from beam_curator.samples import Shard, ShardRange
from beam_curator.sources.listed_files import unsized
from beam_curator.sources.local_matching import Missing


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
        return [range for of_shard in self.planned for range in of_shard]

    @property
    def unscored(self) -> list[ShardRange]:
        """Ranges of which nothing is stored."""
        return [range for range, stored in zip(self.ranges, self.stored, strict=True) if stored is None]

    @property
    def scored_samples(self) -> int:
        """The number of samples in ranges of which something is stored."""
        return sum(len(stored.batch) for stored in self.stored if stored is not None)

    @property
    def lacking(self) -> int:
        """The number of ranges that are embedded and lack columns."""
        return sum(bool(stored.lacking(self.wanted.steps)) for stored in self.stored if stored is not None)

    @property
    def fieldless(self) -> int:
        """The number of ranges that are embedded while nobody looked for fields of their metadata."""
        return sum(stored.lacks_fields for stored in self.stored if stored is not None)

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
    ranges = [range for of_shard in planned for range in of_shard]
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
        f"    {shard.url}  {_sizes([shard])}  {counted(len(ranges), 'range')}"
        for shard, ranges in zip(plan.shards, plan.planned, strict=True)
    ]
    lines = [head, f"  {counted(len(plan.shards), 'shard')}:", *lines_of(described_shards, "    ")]
    lines += missing_lines(missing)
    there = sum(stored is not None for stored in plan.stored)
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
