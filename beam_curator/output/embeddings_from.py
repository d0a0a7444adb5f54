"""Embeddings in another output directory over the same input, by which a job tells semantic duplicates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from beam_curator.errors import JobError, UsageError
from beam_curator.output.manifest import read_manifest
from beam_curator.output.part_contents import range_in_part
from beam_curator.output.resuming import ways_apart
from beam_curator.output.score_parts import SCORES_DIRECTORY
from beam_curator.output.scores_from import finished_job
from beam_curator.reading import Reading
from beam_curator.storage import files, urls

FLAG = "--duplicate_embeddings"


def check_embeddings(other: str, output: str) -> None:
    """Raises UsageError where another directory holds no finished job with embeddings of its own.

    Args:
      other: the other output directory.
      output: that of the job.
    """
    finished_job(FLAG, other, output)


def check_same_input(
    other: str, range_mb: float | None, reading: Reading, described_input: Mapping[str, Any], output: str
) -> None:
    """Raises UsageError where the ranges of another finished job are not those of a job.

    Args:
      other: the other output directory.
      range_mb: about how large the job's ranges are, in MiB.
      reading: how it reads its input.
      described_input: as `describe_input` gives that.
      output: the job's directory.
    """
    told = f"{FLAG} {other}"
    job, manifest = finished_job(FLAG, other, output), read_manifest(other) or {}
    if job.range_mb != range_mb:
        raise UsageError(f"{told} has ranges of {job.range_mb:g} MiB, this job of {range_mb:g}: give both the same")
    apart = ways_apart(manifest.get("reading") or {}, reading, int(manifest.get("several_images") or 0))
    if apart is not None:
        raise UsageError(f"{told}: its job read samples with {apart[1]}, this command says {apart[0]}: give its flags")
    if manifest.get("input") != described_input:
        raise UsageError(f"{told} was made of another input than this one's: run its own command with this --input")


def part_elsewhere(other: str, part: str) -> str:
    """The part in another directory that has the embeddings of the same samples as this part.

    Raises:
      JobError: the directory is gone, has no such part, or has one of the range as it was before its shard changed.
      StorageError: when they cannot be read, after retries.
    """
    name = part.rpartition("/")[2]
    found = urls.join(other, SCORES_DIRECTORY, name)
    if not files.exists(found):
        if read_manifest(other) is None:
            raise JobError(f"{FLAG}: there is no finished job in {other} (any more, or seen from {Path.cwd()})")
        raise JobError(f"{FLAG} {other} has no embeddings of the range {name}: run its own command with this --input")
    if range_in_part(found) != range_in_part(part):
        raise JobError(f"{found} is of other samples than {part}: run both jobs again on the same input")
    return found
