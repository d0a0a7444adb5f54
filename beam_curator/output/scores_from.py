"""Scores in another output directory, from which a job selects: they stay there, and are not copied."""

from __future__ import annotations

import time
from collections.abc import Sequence

from beam_curator.errors import UsageError
from beam_curator.first_few import counted
from beam_curator.identities import ModelIdentity
from beam_curator.output import lease
from beam_curator.output.manifest import MANIFEST, read_manifest
from beam_curator.output.ownership import Job, read_job
from beam_curator.sources.shard_identity import KnownShard
from beam_curator.storage import files
from beam_curator.storage.places import real


def scoring_job(scores_from: str, output: str) -> Job:
    """The finished job whose scores another one selects from.

    Args:
      scores_from: its output directory.
      output: that of the job that selects.

    Raises:
      UsageError: where there is no finished job, or one without scores of its own, or a job at work.
    """
    told = f"--scores_from {scores_from}"
    if real(scores_from) == real(output):
        raise UsageError(f"{told} is the output itself: leave it out")
    try:
        job, manifest, held = read_job(scores_from), read_manifest(scores_from), lease.read(scores_from)
    except (OSError, UsageError) as error:
        raise UsageError(f"{told} cannot be read: {files.first_line(error)}") from error
    now = time.time()
    if held is not None and not held.is_over(now):
        raise UsageError(f"{told} is being written: {held.describe(now, 'with --take_over there')}")
    if job is None or manifest is None:
        raise UsageError(
            f"{told} holds no finished job ({MANIFEST} is written last): give the output directory of a job that has "
            "run to its end"
        )
    if job.scores_from:
        raise UsageError(f"{told} has no scores of its own: give --scores_from {job.scores_from}")
    return job


def check_scores(
    scores_from: str, job: Job, standing: Job | None, encoder: ModelIdentity, found: Sequence[KnownShard]
) -> None:
    """Raises UsageError where the scores of a finished job are not those that another one needs.

    Args:
      scores_from: the finished job's directory.
      job: the finished job.
      standing: what stands in the directory of the one that selects.
      encoder: what embeds the images, by the flags of the one that selects.
      found: its input, under the urls of the finished job.
    """
    told = f"--scores_from {scores_from}"
    if job.encoder is None or not encoder.gives(job.encoder):
        raise UsageError(f"{told} was embedded by {job.encoder}, and this command asks for {encoder}: give its flags")
    if standing is not None and standing.range_mb != job.range_mb:
        raise UsageError(
            f"{told} has ranges of {job.range_mb:g} MiB, and --output was begun with {standing.range_mb:g}: give "
            "another directory, or --overwrite"
        )
    known = {one.url: one for one in job.shards}
    lacking = [one for one in found if one.url not in known or _changed(known[one.url], one)]
    if lacking:
        shards = counted(len(found), "shard")
        raise UsageError(
            f"{told} has no scores of {len(lacking):,} of the {shards} of --input, first {lacking[0].url}: run its own "
            "command with them first"
        )


def _changed(was: KnownShard, now: KnownShard) -> bool:
    return bool(was.generation) and not was.same_content(now)
