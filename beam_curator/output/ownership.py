"""Decides whose an output directory is: a job's, if its inputs, encoder and range size are those of job.json."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection
from pathlib import Path

from beam_curator.errors import StorageError, UsageError
from beam_curator.first_few import counted
from beam_curator.output import parts_before_steps
from beam_curator.output.job_file import JOB, Job, StandingParts, standing_job, write_job
from beam_curator.output.manifest import read_manifest, remove_output
from beam_curator.output.part_contents import count_samples
from beam_curator.output.resuming import (
    check_encoder,
    check_same_scores,
    check_shards,
    merged,
    notes,
    notes_of_reading,
    scorer_notes,
)
from beam_curator.output.score_parts import SCORES_DIRECTORY, SCORING_VERSION
from beam_curator.reading import DEFAULT_READING, Reading
from beam_curator.sources.shard_identity import KnownShard, root_of
from beam_curator.storage import clearing, directories, files, urls


def continued(standing: Job | None, job: Job) -> Job:
    """Gives the job as its directory remembers it: under the names and in the ranges that it began with.

    Args:
      standing: the job that the directory belongs to, if any.
      job: that of the command.
    """
    if standing is None:
        return job
    shards = merged(standing.shards, job.shards)
    same = [one for one in shards if one.matched] == [one for one in standing.shards if one.matched]
    spelled = standing if same and standing.given else job
    return dataclasses.replace(
        job, inputs=spelled.inputs, given=spelled.given, shards=shards, range_mb=standing.range_mb or job.range_mb
    )


def claim_output(output: str, job: Job, overwrite: bool, fewer_shards: bool = False) -> None:
    """Makes an output directory this job's own.

    Args:
      output: the directory.
      job: what it is going to hold.
      overwrite: whether to remove what a job left there.
      fewer_shards: whether shards that the standing job has, and that are still there, may be left out.

    Raises:
      UsageError: when it holds another job's output, or files that are nobody's; or cannot be written to.
    """
    try:
        standing = None
        if overwrite:
            check_foreign(output)
            remove_output(output)
        else:
            standing = check_output(output, job, fewer_shards)
        clearing.remove_temporaries(output)
        write_job(output, continued(standing, job))
    except StorageError as error:
        raise UsageError(f"--output {output} cannot be written to: {error}") from error


def check_foreign(output: str) -> None:
    """Raises UsageError when a directory without a job.json holds more than what a killed job left half-written, or can
    be none.

    Releases before this one wrote no job.json for a library's pipeline: there the manifest will do.
    """
    if files.exists(urls.join(output, JOB)):
        return
    _check_can_be(output)
    _check_not_within(output)
    if directories.is_empty(output) or "software" in (read_manifest(output) or {}):
        return
    raise UsageError(f"--output {output} is not empty and holds no job of Beam Curator: give an empty or new directory")


def _check_can_be(output: str) -> None:
    """Raises UsageError where a local directory, or one that it would be in, is something else."""
    for place in () if urls.is_remote(output) else (Path(output), *Path(output).parents):
        if place.is_dir():
            return
        if os.path.lexists(place):  # a link to nothing as well
            raise UsageError(f"--output {output}: {place} is no directory: give a new one")


def _check_not_within(output: str) -> None:
    """Raises UsageError for a local directory within that of another job, of which it would be a stranger's file; not
    of one that ended before it had scored anything, or that another program's job.json tells of."""
    for parent in () if urls.is_remote(output) else Path(os.path.realpath(output)).parents:
        try:
            is_jobs = (parent / JOB).is_file() and standing_job(str(parent)) is not None
        except (UsageError, OSError):
            continue
        if is_jobs:
            raise UsageError(
                f"--output {output} lies in {parent}, the output of another job: give a directory beside it"
            )


def check_readable(output: str) -> None:
    """Raises UsageError for a command's output directory that `check_foreign` refuses, or that cannot be read."""
    try:
        check_foreign(output)
    except StorageError as error:
        raise UsageError(f"--output {output} cannot be read: {error}") from error


def _is_left_out(one: KnownShard, roots: Collection[str | None]) -> bool:
    """Tells whether a shard's file is still there; or the folder or list that some files were of, if none are of it
    now."""
    root = root_of(one)
    return files.exists(one.place) if root is None else root not in roots and directories.is_there(root)


def check_output(output: str, job: Job, fewer_shards: bool) -> Job | None:
    """Gives the job that stands in a directory, if it is this one; None if none has scored anything there.

    Raises:
      UsageError: when the directory holds another job's output, or files that are nobody's.
    """
    standing = standing_job(output)
    if standing is None:
        check_foreign(output)
        return None
    parts = StandingParts(output)
    check_same_scores(output, standing.scores_from, job.scores_from, parts)
    check_encoder(output, parts, standing.encoder, job.encoder)
    roots = {root_of(one) for one in job.shards}
    check_shards(output, parts, standing.shards, job.shards, fewer_shards, lambda one: _is_left_out(one, roots))
    return standing


def notes_before(
    output: str, job: Job, range_mb: float | None, overwrite: bool, reading: Reading = DEFAULT_READING
) -> list[str]:
    """Tells the user, a line each, what this job will do otherwise than the one that stands in its directory.

    Args:
      output: the directory.
      job: that of the command.
      range_mb: the one that was asked for, if any was.
      overwrite: whether to begin anew.
      reading: how the command reads its input.
    """
    parts = StandingParts(output)
    if overwrite:
        samples = count_samples(list(parts))
        lost = f"--overwrite throws away the scores of {counted(samples, 'sample')} in {output}/{SCORES_DIRECTORY}"
        return [lost] if parts else []
    standing = standing_job(output)
    if standing is None:
        return []
    lines = notes(standing.shards, job.shards)
    manifest = read_manifest(output)
    if manifest is not None and parts:
        lines += notes_of_reading(manifest, reading)
    lines += scorer_notes(standing.scorers, job.scorers) if parts else []
    if range_mb and standing.range_mb and range_mb != standing.range_mb:
        lines.append(f"--range_mb is {standing.range_mb:g}, with which {output} was begun, not {range_mb:g}")
    if standing.scoring_version not in (SCORING_VERSION, parts_before_steps.SCORING_VERSION) and parts:
        lines.append(
            f"the scores in {output}/{SCORES_DIRECTORY} ({counted(parts.count, 'file')}) are of another version of "
            "this software, which kept less with them: all is scored again"
        )
    return lines
