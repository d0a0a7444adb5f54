"""What a job is, so that an output directory belongs to one: its inputs, its models and its range size."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import apache_beam as beam

from beam_curator import files
from beam_curator.checkpoint import Scoring
from beam_curator.errors import JobError, StorageError, UsageError
from beam_curator.manifest import read_manifest, remove_output
from beam_curator.samples import ShardRange

JOB = "job.json"


@dataclasses.dataclass(frozen=True)
class Job:
    """What shapes the scores in an output directory.

    Attributes:
      inputs: the input patterns, brace ranges written out, in order.
      range_mb: about how much of a shard is one unit of work, in MiB; None where `PlanRanges` did not cut it.
      models: step to the identity of its model.
      model_flags: the flags that chose the models.
    """

    inputs: Sequence[str]
    range_mb: float | None
    models: Mapping[str, str]
    model_flags: Mapping[str, Any]


def read_job(output: str) -> Job | None:
    """The job that an output directory belongs to, or None if there is none."""
    url = files.join(output, JOB)
    try:
        if not files.exists(url):
            return None
        return Job(**json.loads(files.read_bytes(url)))
    except (ValueError, TypeError) as error:
        raise UsageError(f"{url} cannot be read ({error}): give another --output, or --overwrite") from error
    except StorageError as error:
        raise UsageError(f"--output {output} cannot be read: {error}") from error


def claim_output(output: str, job: Job, overwrite: bool) -> None:
    """Makes an output directory this job's own.

    Raises:
      UsageError: when it holds another job's output, or files that are nobody's; or cannot be written to.
    """
    try:
        if overwrite:
            check_foreign(output)
            remove_output(output)
        else:
            check_output(output, job)
        files.remove_temporaries(output)
        write_job(output, job)
    except StorageError as error:
        raise UsageError(f"--output {output} cannot be written to: {error}") from error


def write_job(output: str, job: Job) -> None:
    """Writes what a directory belongs to.

    Raises:
      StorageError: when it cannot be written, after retries.
    """
    files.write_bytes(output, JOB, json.dumps(dataclasses.asdict(job), indent=2, sort_keys=True).encode() + b"\n")


def check_foreign(output: str) -> None:
    """Raises UsageError when a directory without a job.json holds more than what a killed job left half-written.

    Releases before this one wrote no job.json for a library's pipeline: there the manifest will do.
    """
    if files.is_empty(output) or files.exists(files.join(output, JOB)) or "software" in (read_manifest(output) or {}):
        return
    raise UsageError(f"--output {output} is not empty and holds no job of Beam Curator: give an empty or new directory")


def check_readable(output: str) -> None:
    """Raises UsageError for a command's output directory that `check_foreign` refuses, or that cannot be read."""
    try:
        check_foreign(output)
    except StorageError as error:
        raise UsageError(f"--output {output} cannot be read: {error}") from error


def check_output(output: str, job: Job) -> None:
    """Raises UsageError when the directory holds another job's output, or files that are nobody's."""
    standing = read_job(output)
    if standing is None:
        check_foreign(output)
        return
    for what, was, now in (
        ("--input", list(standing.inputs), list(job.inputs)),
        ("--range_mb", standing.range_mb, job.range_mb),
        ("models", dict(standing.models), dict(job.models)),
    ):
        if was != now:
            raise UsageError(
                f"--output {output} holds another job's output ({what} was {_short(was)}, is {_short(now)}): "
                "give another directory, or --overwrite to begin anew"
            )


def _short(value: Any) -> str:
    text = json.dumps(value) if not isinstance(value, str) else value
    return text if len(text) <= 300 else f"{text[:300]}..."


class ScoringUnavailable(Scoring):
    """Stands for scoring when the weights cannot be had but every range should be scored already.

    Args:
      models: the models that gave the scores.
      why: why they cannot be had: what the job fails with if a range has no scores after all.
    """

    def __init__(self, models: Mapping[str, str], why: str) -> None:
        super().__init__()
        self.models, self.sources, self._why = models, {}, why

    def expand(self, ranges: beam.PCollection[ShardRange]) -> beam.PCollection:
        return ranges | beam.Map(_fail, self._why)


def _fail(range: ShardRange, why: str) -> None:
    raise JobError(f"{range.url} has parts that are not scored yet, and {why}")
