"""Reads and writes job.json: the job that an output directory belongs to."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from beam_curator.errors import StorageError, UsageError
from beam_curator.identities import ModelIdentity
from beam_curator.output import parts_before_steps
from beam_curator.output.manifest import read_manifest
from beam_curator.output.resuming import loss
from beam_curator.output.score_parts import SCORES_DIRECTORY, SCORING_VERSION
from beam_curator.output.score_steps import EMBEDDING_STEP, ScoreStep
from beam_curator.sources.matching import match_files
from beam_curator.sources.shard_identity import KnownShard, place_of
from beam_curator.storage import directories, files, urls

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
    """Reads the job that an output directory belongs to; None if there is none.

    Raises:
      UsageError: when its file cannot be read, or is none of ours.
    """
    url = urls.join(output, JOB)
    try:
        if not files.exists(url):
            return None
        return _read(files.read_bytes(url))
    except (ValueError, TypeError) as error:
        parts = StandingParts(output)
        raise UsageError(f"{url} cannot be read ({error}): give another --output; {loss(output, parts)}") from error
    except StorageError as error:
        raise UsageError(f"--output {output} cannot be read: {error}") from error


def standing_job(output: str) -> Job | None:
    """Reads the job that an output directory belongs to, once it has scored anything: a job that ended before has no
    claim to the directory.

    Raises:
      UsageError: as `read_job`.
      StorageError: when the directory cannot be listed, after retries.
    """
    job = read_job(output)
    return job if job is not None and (StandingParts(output) or read_manifest(output) is not None) else None


def write_job(output: str, job: Job) -> None:
    """Writes the job that a directory belongs to.

    Raises:
      StorageError: when it cannot be written, after retries.
    """
    files.write_bytes(output, JOB, _encoded(job))


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
    """Makes a shard as soon as it is read, so that not all of them are dicts at a time; of a bucket's shard, url and
    place are one text."""
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
    """Makes a job of the file's JSON. Earlier releases remembered no shards: these are what the patterns match now,
    with a content that is not known."""
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
    content["encoder"] = job.encoder.as_json if job.encoder else None
    content["scorers"] = [step.as_json for step in job.scorers]
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
    """Writes a shard as `json.dumps` does with an indent of 2, in a tenth of the time that it takes for a million of
    them. Where a shard is found, and what was listed, is for each run to say."""
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
class StandingParts:
    """The score parts that stand in a directory. There may be millions: they are counted only where that is told."""

    output: str

    def __iter__(self) -> Iterator[str]:
        directory = urls.join(self.output, SCORES_DIRECTORY)
        named = (name for name in directories.iter_files(directory) if name.endswith(".parquet"))
        return (urls.join(directory, name) for name in named)

    def __bool__(self) -> bool:
        return any(True for _ in self)

    @property
    def count(self) -> int:
        """The number of parts."""
        return sum(1 for _ in self)
