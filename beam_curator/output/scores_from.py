"""Scores in another output directory, from which a job selects: they stay there, and are not copied."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from beam_curator.errors import UsageError, first_line
from beam_curator.first_few import counted
from beam_curator.identities import ModelIdentity
from beam_curator.models.encoders.told_settings import flags_apart
from beam_curator.output import lease
from beam_curator.output.added_columns import read_range
from beam_curator.output.job_file import JOB, Job, read_job
from beam_curator.output.manifest import MANIFEST, read_manifest
from beam_curator.output.resuming import ways_apart
from beam_curator.output.score_parts import SCORING_VERSION, StoredRange
from beam_curator.output.score_steps import ScoreStep, Wanted
from beam_curator.reading import Reading
from beam_curator.samples import ShardRange
from beam_curator.sources.shard_identity import KnownShard
from beam_curator.storage import files, urls
from beam_curator.storage.places import below, real


def scoring_job(scores_from: str, output: str) -> Job:
    """The finished job whose scores another one selects from.

    Args:
      scores_from: its output directory.
      output: that of the job that selects.

    Raises:
      UsageError: where there is no finished job, or one without scores of its own, or a job at work.
    """
    return finished_job("--scores_from", scores_from, output)


def finished_job(flag: str, other: str, output: str) -> Job:
    """The finished job in another directory, with scores of its own, that a flag names; raises as `scoring_job`."""
    told = f"{flag} {other}"
    if real(other) == real(output):
        raise UsageError(f"{told} is the output itself: leave it out")
    try:
        job, manifest, held = read_job(other), read_manifest(other), lease.read(other)
    except (OSError, UsageError) as error:
        raise UsageError(f"{told} cannot be read: {first_line(error)}") from error
    now = time.time()
    if held is not None and not held.is_over(now):
        raise UsageError(f"{told} is being written: {held.describe(now, 'with --take_over there')}")
    if job is None or manifest is None:
        raise UsageError(
            f"{told} holds no finished job ({MANIFEST} is written last): give the output directory of a job that has "
            "run to its end"
        )
    if below(output, other) is not None and not files.exists(urls.join(output, JOB)):
        raise UsageError(f"--output {output} lies in {told}: give a directory beside it")
    if job.scores_from:
        raise UsageError(f"{told} has no scores of its own: give {flag} {job.scores_from}")
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
        apart = flags_apart(job.encoder, encoder) if job.encoder else None
        if apart is not None:
            raise UsageError(f"{told} was embedded with {apart[0]}, and this command says {apart[1]}: give its flags")
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


def check_steps(
    scores_from: str,
    job: Job,
    wanted: Wanted,
    reading: Reading,
    described_input: Mapping[str, Any],
    ranges: Callable[[], Iterable[ShardRange]],
) -> None:
    """Raises UsageError where a finished job has not all that another one wants of its ranges: where it read samples in
    another way, or has no columns of a scorer, or of a field.

    The manifest says what it has. What that does not tell of, as the columns of an earlier run, is looked for.

    Args:
      scores_from: the finished job's directory.
      job: the finished job.
      wanted: what the other one wants.
      reading: how that reads its input.
      described_input: as `describe_input` gives that.
      ranges: cuts that, as the finished job did.

    Raises:
      StorageError: when a part cannot be read, after retries.
    """
    manifest = read_manifest(scores_from) or {}
    before = manifest.get("reading")
    if isinstance(before, Mapping):
        apart = ways_apart(before, reading, int(manifest.get("several_images") or 0))
        if apart is not None:
            raise UsageError(
                f"--scores_from {scores_from}: its job read samples with {apart[1]}, this command says {apart[0]}: "
                "give its flags"
            )
    if _says_it_has(manifest, job, wanted, reading) and manifest.get("input") == described_input:
        return
    for one in ranges():
        complaint = not_there(scores_from, one, wanted)
        if complaint:
            raise UsageError(complaint)


def _says_it_has(manifest: Mapping[str, Any], job: Job, wanted: Wanted, reading: Reading) -> bool:
    models, before = manifest.get("models") or {}, manifest.get("reading")
    has_steps = all(_has(models, step) and any(map(step.gives, job.scorers)) for step in wanted.steps)
    has_fields = isinstance(before, Mapping) and before.get("carry") == list(reading.carry)
    return has_steps and has_fields and job.scoring_version == SCORING_VERSION


def _has(models: Mapping[str, Any], step: ScoreStep) -> bool:
    """Tells whether a manifest tells of a step's model; early releases told models in words."""
    told = models.get(step.name)
    return isinstance(told, Mapping) and step.identity.gives(ModelIdentity.of(told))


def not_there(scores_from: str, range: ShardRange, wanted: Wanted) -> str | None:
    """Says in one line what a finished job lacks of a range that another one wants; None if it lacks nothing.

    Raises:
      StorageError: when it cannot be read, after retries.
    """
    stored = read_range(scores_from, range, wanted)
    return None if stored is not None and is_whole(stored, wanted) else lacks(scores_from, range, stored, wanted)


def is_whole(stored: StoredRange, wanted: Wanted) -> bool:
    """Tells whether a range has all that is wanted of it."""
    return not stored.lacking(wanted.steps) and not stored.lacks_fields


def lacks(scores_from: str, range: ShardRange, stored: StoredRange | None, wanted: Wanted) -> str:
    """Says in one line what is lacking of a range that is not whole, and what to do."""
    what, instead = "scores of this encoder and these flags that can be read", ""
    if stored is not None:
        lacking = stored.lacking(wanted.steps)
        fields = f"fields of --carry {','.join(range.reading.carry)}"
        what = f"{lacking[0].name} ({lacking[0].identity})" if lacking else fields
        instead = "" if lacking else ", or go without fields: --carry none"
    return (
        f"--scores_from {scores_from} has no {what} for {range.url}: run its own command with what asks for that first"
        f"{instead}"
    )


def _changed(was: KnownShard, now: KnownShard) -> bool:
    return bool(was.generation) and not was.same_content(now)
