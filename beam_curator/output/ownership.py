"""Describes a job by its inputs, its encoder and its range size, so that an output directory belongs to one job."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from beam_curator.errors import StorageError, UsageError
from beam_curator.first_few import counted
from beam_curator.identities import ModelIdentity
from beam_curator.output import parts_before_steps
from beam_curator.output.manifest import read_manifest, remove_output
from beam_curator.output.part_contents import count_samples
from beam_curator.output.resuming import (
    check_encoder,
    check_same_scores,
    check_shards,
    loss,
    merged,
    notes,
    notes_of_reading,
    scorer_notes,
)
from beam_curator.output.score_parts import SCORES_DIRECTORY, SCORING_VERSION
from beam_curator.output.score_steps import EMBEDDING_STEP, ScoreStep
from beam_curator.reading import DEFAULT_READING, Reading
from beam_curator.sources.matching import match_files
from beam_curator.sources.shard_identity import KnownShard, place_of, root_of
from beam_curator.storage import files

JOB = "job.json"


@dataclasses.dataclass(frozen=True)
class Job:
    """The job that an output directory belongs to: the content of job.json.

    Attributes:
      inputs: the input patterns with brace ranges written out, sorted.
      range_mb: about how large ranges are, in MiB; None if `PlanRanges` did not cut them.
      encoder: the encoder, its precision as it was asked for; None if it is not known yet.
      scorers: the scorers of the last run, in the order of their columns.
      model_flags: the flags that chose the models.
      given: the input patterns as the command was given them.
      shards: the shards that these match, and those of earlier runs that are no longer in the input.
      scoring_version: `score_parts.SCORING_VERSION` of the software that last ran the job.
      scores_from: the output directory that holds the scores, if it is another one; else "".
    """

    inputs: Sequence[str]
    range_mb: float | None
    encoder: ModelIdentity | None = None
    scorers: Sequence[ScoreStep] = ()
    model_flags: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    given: Sequence[str] = ()
    shards: Sequence[KnownShard] = ()
    scoring_version: int = SCORING_VERSION
    scores_from: str = ""

    def scores_in(self, output: str) -> str:
        """The directory that holds the scores of this job, whose output directory is `output`."""
        return self.scores_from or output

    @property
    def models(self) -> dict[str, ModelIdentity]:
        """Step to the identity of its model."""
        embedding = {EMBEDDING_STEP: self.encoder} if self.encoder else {}
        return {**embedding, **{step.name: step.identity for step in self.scorers}}


def read_job(output: str) -> Job | None:
    """The job that an output directory belongs to, or None if there is none."""
    url = files.join(output, JOB)
    try:
        if not files.exists(url):
            return None
        return _read(files.read_bytes(url))
    except (ValueError, TypeError) as error:
        parts = _Parts(output)
        raise UsageError(f"{url} cannot be read ({error}): give another --output; {loss(output, parts)}") from error
    except StorageError as error:
        raise UsageError(f"--output {output} cannot be read: {error}") from error


def standing_job(output: str) -> Job | None:
    """The job that an output directory belongs to, once it has scored anything: a job that ended before has no claim to
    the directory.

    Raises:
      UsageError: as `read_job`.
      StorageError: when the directory cannot be listed, after retries.
    """
    job = read_job(output)
    return job if job is not None and (_Parts(output) or read_manifest(output) is not None) else None


@dataclasses.dataclass(frozen=True)
class Remembered:
    """Gives `MatchShards` the shards that a job remembers: it reads them on the worker, so that they are not in the
    pipeline.

    Attributes:
      output: the job's directory.
    """

    output: str

    def __call__(self) -> Sequence[KnownShard]:
        job = read_job(self.output)
        return job.shards if job is not None else ()


_last_read: list[tuple[bytes, Job]] = []
"""The job that was read last, by what its file held: a command asks for it several times, and it may be large."""


def _read(content: bytes) -> Job:
    digest = hashlib.blake2b(content).digest()
    for known, job in _last_read:
        if known == digest:
            return job
    told = json.loads(content, object_hook=_shard_or_as_it_is)
    try:
        remembers, job = "shards" in told, _decoded(told)
    except (LookupError, AttributeError, TypeError) as error:
        raise ValueError("it is none that this release of Beam Curator knows") from error
    _last_read[:] = [(digest, job)] if remembers else []  # else it depends on what stands there
    return job


def _shard_or_as_it_is(told: dict[str, Any]) -> Any:
    """A shard as soon as it is read, so that not all of them are dicts at a time; of a bucket's, url and place are one
    text."""
    if not told.keys() >= {"url", "size_bytes", "generation", "place"}:
        return told
    if told["place"] == told["url"]:
        told["place"] = told["url"]
    shard = KnownShard(**told)
    texts = (shard.url, shard.generation, shard.place, shard.label, shard.format)
    if type(shard.size_bytes) is not int or not all(type(text) is str for text in texts):
        raise TypeError(f"a shard {told}")
    return shard


def _decoded(content: dict[str, Any]) -> Job:
    """Releases before this one remembered no shards: they are what the patterns match now, with a content that is not
    known."""
    version = content.pop("scoring_version", 0)
    shards = content.pop("shards", None)
    if "models" in content:
        content = parts_before_steps.job_of(content)
    else:
        encoder, scorers = content["encoder"], content["scorers"]
        content["encoder"] = ModelIdentity.of(encoder) if encoder else None
        content["scorers"] = tuple(ScoreStep.read(step) for step in scorers)
    if shards is not None:
        if not all(isinstance(one, KnownShard) for one in shards):
            raise TypeError("a shard without all that is known of it")
        return Job(**content, shards=shards, scoring_version=version)
    found = match_files(content["inputs"]) if content["inputs"] else []
    known = [KnownShard(file.path, file.size_in_bytes, "", place_of(file.path)) for file in found]
    return Job(**content, shards=known, scoring_version=version)


def _encoded(job: Job) -> bytes:
    content = dataclasses.asdict(dataclasses.replace(job, shards=()))
    content["encoder"] = job.encoder.told if job.encoder else None
    content["scorers"] = [step.told for step in job.scorers]
    if not job.scores_from:
        del content["scores_from"]
    text = json.dumps({**content, "shards": []}, indent=2, sort_keys=True)
    if not job.shards:
        return text.encode() + b"\n"
    before, after = text.rsplit('"shards": []', 1)
    written = io.BytesIO(f'{before}"shards": [\n'.encode())
    written.seek(0, io.SEEK_END)
    for index, shard in enumerate(job.shards):
        written.write((",\n" if index else "").encode() + _told_shard(shard).encode())
    written.write(f"\n  ]{after}\n".encode())
    return written.getvalue()


def _told_shard(shard: KnownShard) -> str:
    """A shard as `json.dumps` tells it with an indent of 2, which takes ten times as long for a million of them. Where
    it is found, and what was listed, is for each run to say."""
    lines = [f'"format": {_text(shard.format)}'] if shard.format else []
    lines += [
        f'"generation": {_text(shard.generation)}',
        f'"label": {_text(shard.label)}',
        f'"matched": {"true" if shard.matched else "false"}',
        f'"place": {_text(shard.place)}',
        f'"size_bytes": {int(shard.size_bytes)}',
        f'"url": {_text(shard.url)}',
    ]
    return "    {\n      " + ",\n      ".join(lines) + "\n    }"


_text = json.encoder.encode_basestring_ascii


@dataclasses.dataclass(frozen=True)
class _Parts:
    """The score parts that stand in a directory. There may be millions: they are counted only where that is told."""

    output: str

    def __iter__(self) -> Iterator[str]:
        directory = files.join(self.output, SCORES_DIRECTORY)
        named = (name for name in files.iter_files(directory) if name.endswith(".parquet"))
        return (files.join(directory, name) for name in named)

    def __bool__(self) -> bool:
        return any(True for _ in self)

    @property
    def count(self) -> int:
        """The number of parts."""
        return sum(1 for _ in self)


def continued(standing: Job | None, job: Job) -> Job:
    """The job as its directory remembers it: under the names and in the ranges that it began with.

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
        files.remove_temporaries(output)
        write_job(output, continued(standing, job))
    except StorageError as error:
        raise UsageError(f"--output {output} cannot be written to: {error}") from error


def write_job(output: str, job: Job) -> None:
    """Writes what a directory belongs to.

    Raises:
      StorageError: when it cannot be written, after retries.
    """
    files.write_bytes(output, JOB, _encoded(job))


def check_foreign(output: str) -> None:
    """Raises UsageError when a directory without a job.json holds more than what a killed job left half-written, or can
    be none.

    Releases before this one wrote no job.json for a library's pipeline: there the manifest will do.
    """
    if files.exists(files.join(output, JOB)):
        return
    _check_can_be(output)
    _check_not_within(output)
    if files.is_empty(output) or "software" in (read_manifest(output) or {}):
        return
    raise UsageError(f"--output {output} is not empty and holds no job of Beam Curator: give an empty or new directory")


def _check_can_be(output: str) -> None:
    """Raises UsageError where a local directory, or one that it would be in, is something else."""
    for place in () if files.is_remote(output) else (Path(output), *Path(output).parents):
        if place.is_dir():
            return
        if os.path.lexists(place):  # a link to nothing as well
            raise UsageError(f"--output {output}: {place} is no directory: give a new one")


def _check_not_within(output: str) -> None:
    """Raises UsageError for a local directory within that of another job, of which it would be a stranger's file; not
    of one that ended before it had scored anything, or that another program's job.json tells of."""
    for parent in () if files.is_remote(output) else Path(os.path.realpath(output)).parents:
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
    return files.exists(one.place) if root is None else root not in roots and files.is_there(root)


def check_output(output: str, job: Job, fewer_shards: bool) -> Job | None:
    """The job that stands in a directory, if it is this one.

    Raises:
      UsageError: when the directory holds another job's output, or files that are nobody's.
    """
    standing = standing_job(output)
    if standing is None:
        check_foreign(output)
        return None
    parts = _Parts(output)
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
    parts = _Parts(output)
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
