"""The job of a pipeline composed of the library's transforms: its directory tells of it what a command's does."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from beam_curator.errors import StorageError, UsageError
from beam_curator.identities import ModelIdentity
from beam_curator.output.job_file import Job, read_job, standing_job, write_job
from beam_curator.output.ownership import check_foreign
from beam_curator.output.score_steps import ScoreStep
from beam_curator.sources import matching
from beam_curator.storage.places import below, real
from beam_curator.transforms.lineage import Facts


def check_claimable(output: str, facts: Facts) -> None:
    """Raises UsageError when a directory holds another job's output, or files that are nobody's."""
    standing = read_job(output)
    if standing is None:
        check_foreign(output)
        return
    complaint = _complaint(output, standing, facts)
    if complaint is not None and standing_job(output) is not None:
        raise complaint


def _complaint(output: str, standing: Job, facts: Facts) -> UsageError | None:
    """Says why a pipeline is not the job that is written in a directory; None if it is that job."""
    for what, was, now in (
        ("range_mb", standing.range_mb, facts.range_mb),
        ("its models", _told(standing.encoder, standing.scorers), _told(facts.encoder, facts.steps)),
    ):
        if was and now and was != now:
            return _another(output, what, str(was), str(now))
    left_out = _left_out(standing.inputs, facts.patterns)
    return _another(output, "its input", f"with {left_out}", "without") if left_out is not None else None


def _told(encoder: ModelIdentity | None, steps: Sequence[ScoreStep]) -> str | None:
    """Models as people read them; None where nobody knows what embeds. A pipeline writes its parts anew: with other
    scorers, scores would be lost."""
    scorers = [f"{step.name} by {step.identity}" for step in steps]
    return "; ".join([str(encoder), *scorers]) if encoder else None


def _another(output: str, what: str, was: str, now: str) -> UsageError:
    return UsageError(
        f"{output} holds another job's output ({what} was {was}, is {now}): give another directory, or remove that one"
    )


def _left_out(before: Sequence[str], now: Sequence[str]) -> str | None:
    """A shard that the standing job has and this one would lose the scores of; None also where one input is unknown."""
    if not before or not now or set(before) <= set(matching.expand_patterns(now)):
        return None
    kept = set(map(real, _matched(now)))
    return next((url for url in _matched(before) if real(url) not in kept), None)


def _matched(patterns: Iterable[str]) -> list[str]:
    return [found.path for found in matching.match_files(list(patterns))]


def check_apart(output: str, facts: Facts) -> None:
    """Raises UsageError when the input lies in the output directory, unless what jobs wrote there is left out."""
    if real(output) in map(real, facts.left_out):
        return  # where it is matched, files that no job wrote are refused
    try:
        urls = _matched(facts.patterns) if facts.patterns else []
    except (UsageError, StorageError):
        return  # said where it is read
    for url in urls:
        if below(url, output) is not None:
            raise UsageError(
                f"{url} is input, and lies in the output directory {output}: a job never writes where it reads: "
                "give another directory, a pattern that leaves this one out, or, to leave out what a job wrote there, "
                f'ReadSamples(..., output="{output}") or MatchShards(..., output="{output}")'
            )


def claim_for_pipeline(output: str, facts: Facts) -> None:
    """Writes what a directory belongs to, as far as it is known and not written yet.

    Raises:
      StorageError: when it cannot be written, after retries.
    """
    standing = read_job(output)
    if standing is not None and _complaint(output, standing, facts) is not None:
        standing = None  # it has scored nothing, or this pipeline would have been refused
    inputs = sorted(set(matching.expand_patterns(facts.patterns))) if facts.patterns else []
    known = standing or Job([], None)
    job = dataclasses.replace(
        known,
        inputs=inputs or known.inputs,
        range_mb=known.range_mb or facts.range_mb,
        encoder=known.encoder or facts.encoder,
        scorers=tuple(facts.steps) or known.scorers,
    )
    if job != standing:
        write_job(output, job)


def remember_shards(output: str, urls: Iterable[str]) -> None:
    """Has the directory remember the shards that were read, if nobody knew the input where the pipeline was built.

    Raises:
      StorageError: when it cannot be written, after retries.
    """
    standing = read_job(output)
    if standing is not None and not standing.inputs:
        write_job(output, dataclasses.replace(standing, inputs=sorted(set(urls))))
