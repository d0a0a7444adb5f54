"""A finished job: its output directory, what it says of itself, and its input as it stands now."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from apache_beam.io.filesystem import BeamIOError

from beam_curator.defaults import DEFAULT_RANGE_MB
from beam_curator.errors import UsageError, first_line
from beam_curator.first_few import counted
from beam_curator.output import plans
from beam_curator.output.belonging import is_of_regathered
from beam_curator.output.job_file import JOB, Job, read_job
from beam_curator.output.job_input import describe_input, match_input
from beam_curator.output.ledger import LEDGER_DIRECTORY, has_ids
from beam_curator.output.manifest import MANIFEST, read_manifest
from beam_curator.output.moved_input import Move
from beam_curator.output.score_parts import SCORES_DIRECTORY
from beam_curator.output.score_steps import EMBEDDING_STEP
from beam_curator.output.strays import shard_of
from beam_curator.reading import Reading
from beam_curator.samples import Shard, ShardRange
from beam_curator.sources.formats import WEBDATASET
from beam_curator.sources.ranges import plan_ranges
from beam_curator.sources.tar.planning import range_bytes_of
from beam_curator.storage import directories, files, urls
from beam_curator.storage.temporary_names import LEASE, TEMPORARY


@dataclasses.dataclass(frozen=True)
class FinishedJob:
    """A finished job, as `verify` checks it.

    Attributes:
      output: the output directory.
      job: the job that the directory belongs to, from job.json.
      manifest: the content of its manifest.json.
      shards: the shards of the input, under the urls that the job knew, with the paths at which they are now.
    """

    output: str
    job: Job
    manifest: Mapping[str, Any]
    shards: Sequence[Shard]

    @property
    def samples_per_shard(self) -> int:
        """The number of samples in every output shard but the last."""
        return self.manifest["samples_per_shard"]

    @property
    def scores(self) -> str:
        """The output directory that holds the scores: this one, or that of --scores_from."""
        return self.job.scores_in(self.output)

    @property
    def reading(self) -> Reading:
        """The settings with which the shards were read."""
        return Reading(**{"carry": (), **self.manifest["reading"]})  # earlier releases carried no fields

    @property
    def field_types(self) -> dict[str, str]:
        """The types of the columns of the samples' metadata fields, by name, as the manifest says them."""
        told = (self.manifest.get("fields") or {}).get("columns") or {}
        return {name: one["type"] for name, one in sorted(told.items()) if one["type"]}

    @property
    def range_bytes(self) -> int:
        """The size of a range that planning aims at, in bytes."""
        return range_bytes_of(self.job.range_mb or DEFAULT_RANGE_MB)

    def path(self, name: str) -> str:
        """The url of a file of the output."""
        return urls.join(self.output, *name.split("/"))

    def names(self) -> set[str]:
        """Lists the files below the output directory, by their paths under it, without a running job's lease."""
        listed = directories.list_files(self.output, "**")
        found = {metadata.path[len(self.output) :].lstrip("/") for metadata in listed}
        lease = f"{TEMPORARY}/{LEASE}"
        if lease in found:  # somebody runs the job again, or it was killed in doing so
            return found - {lease}
        return found | ({TEMPORARY} if files.exists(self.path(TEMPORARY)) else set())

    @functools.cached_property
    def keeps_plans(self) -> bool:
        """Whether the output has plans: a pipeline of the library that reads without an output directory keeps none."""
        directory = self.path(plans.PLANS_DIRECTORY)
        return bool(self.job.model_flags) or bool(directories.list_files(directory, "*.json"))

    @property
    def unselected(self) -> set[str]:
        """The names of shards that earlier runs had, whose scores are kept."""
        return {one.shard.name for one in self.job.shards if not one.matched}

    def planned(self) -> Iterator[list[ShardRange]]:
        """Plans the ranges of each shard anew, in the order of the output, under the urls that the job knew.

        Raises:
          OSError, BeamIOError: when a shard cannot be read, after retries.
        """
        for shard in self.shards:
            yield list(plan_ranges(shard, self.range_bytes, reading=self.reading))


def read_finished(output: str, input_root: str | None = None) -> FinishedJob:
    """Reads what a finished job left in its output directory, and finds its input.

    Args:
      output: the directory, local or in a bucket.
      input_root: the directory that now stands for the deepest one that held all input, if it was moved.

    Raises:
      UsageError: when no job was finished there, or its input is not there.
    """
    output = output.rstrip("/") or output
    try:
        job, manifest = read_job(output), read_manifest(output)
    except (OSError, BeamIOError) as error:
        raise UsageError(f"{output} cannot be read: {first_line(error)}") from error
    if job is None and manifest is not None:
        raise UsageError(f"{output} has {MANIFEST}, but {JOB} is gone, which says what was read: run the command again")
    per_shard = (manifest or {}).get("samples_per_shard")
    if job is None or manifest is None or not isinstance(per_shard, int) or per_shard < 1:
        raise UsageError(f"{output} holds no finished job ({MANIFEST} is written last): run the job to its end first")
    _check_can_be_verified(output, job, manifest)
    move = Move.to(input_root, job.inputs)
    try:
        patterns = [move.there(pattern) for pattern in job.inputs]
        format = next((one.format for one in job.shards if one.matched), "") or WEBDATASET
        reading = Reading(**manifest["reading"])
        found = match_input(patterns, output, job.shards, move.back, format, reading)
    except UsageError as error:
        raise UsageError(f"{error}; if the input has moved, say where it is with --input_root DIR") from error
    return FinishedJob(output, job, manifest, found.shards)


def _check_can_be_verified(output: str, job: Job, manifest: Mapping[str, Any]) -> None:
    """Raises UsageError for the first thing for which the output of a job cannot be verified."""
    try:
        Reading(**manifest["reading"])
    except (KeyError, TypeError, UsageError) as error:
        raise UsageError(
            f"{output} does not say in one way how its shards were read: a job of an earlier version, or one that "
            "reads its inputs with different flags; run the same command again, or check those apart"
        ) from error
    later = _later_run(job, manifest)
    if later:
        raise UsageError(
            f"{output} holds what an earlier run gave: a later one, which {later}, did not reach its end: run that "
            "command again (or the earlier one), and verify then"
        )
    if job.range_mb is None:
        raise UsageError(
            f"{output} cannot be verified: its pipeline did not cut the input with PlanRanges or ReadSamples"
        )
    _check_ids(output)
    _check_whole_ranges(output, job)
    if job.scores_from and not files.exists(urls.join(job.scores_from, JOB)):
        raise UsageError(
            f"{output} has its scores in {job.scores_from}, where there is no job any more: without them it cannot be "
            "verified; bring them back, or select again into a new directory"
        )


def _check_ids(output: str) -> None:
    """Raises UsageError for an output of a release whose samples had other ids, which nobody can compute any more."""
    for metadata in directories.list_files(urls.join(output, LEDGER_DIRECTORY), "*.parquet")[:1]:
        if not has_ids(metadata.path):
            raise UsageError(
                f"{output} was written by an earlier release, which called samples by other ids (uid): run its "
                "beam-curator curate command again, which scores nothing anew, and verify then"
            )


def _check_whole_ranges(output: str, job: Job) -> None:
    """Raises UsageError where a pipeline of the library wrote batches that are less than a range."""
    if job.model_flags or job.scores_from:  # a command's, which reads and writes whole ranges
        return
    gone = {one.shard.name for one in job.shards if not one.matched}
    named = filter(is_of_regathered, directories.iter_files(urls.join(output, SCORES_DIRECTORY)))
    one = next((name for name in named if shard_of(name) not in gone), None)
    if one is not None:
        raise UsageError(
            f"{output} cannot be verified: its pipeline wrote batches that are less than a range as it was read "
            f"({SCORES_DIRECTORY}/{one} is of one): BatchSamples() without max_samples, and without a filter or "
            "shuffle before it, gives whole ones"
        )


def _later_run(job: Job, manifest: Mapping[str, Any]) -> str:
    """Says what a later run, which did not end, was to do otherwise; "" where there is none, or where nobody can tell.

    A run writes job.json at its start and the manifest at its end, so these differ if another run began since.
    """
    models, told = manifest.get("models") or {}, manifest.get("input") or {}
    scorers = {step.name for step in job.scorers}
    if EMBEDDING_STEP in models:
        added, gone = sorted(scorers - set(models)), sorted(set(models) - scorers - {EMBEDDING_STEP})
        if added or gone:
            return f"{'adds' if added else 'leaves out'} {', '.join(added or gone)}"
    matched = [one.shard for one in job.shards if one.matched]
    if matched and "fingerprint" in told and describe_input(matched)["fingerprint"] != told["fingerprint"]:
        return f"reads other input ({counted(len(matched), 'shard')})"
    return ""
