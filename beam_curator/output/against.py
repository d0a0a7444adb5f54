"""Other finished outputs, with which a job's samples are compared."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from beam_curator.duplicates.competitors import Competitors, competitors_in
from beam_curator.duplicates.settings import PERCEPTUAL, SEMANTIC, DuplicateSettings
from beam_curator.errors import JobError, UsageError, first_line
from beam_curator.first_few import counted
from beam_curator.identities import AUTO_PRECISION, ModelIdentity
from beam_curator.output import lease, ledger
from beam_curator.output.embeddings_from import part_elsewhere
from beam_curator.output.job_file import Job, read_job
from beam_curator.output.manifest import MANIFEST, read_manifest
from beam_curator.output.many_ranges import tables_of
from beam_curator.output.score_parts import SCORES_DIRECTORY
from beam_curator.output.score_steps import EMBEDDING_STEP
from beam_curator.storage import directories, files, urls
from beam_curator.storage.places import real
from beam_curator.storage.retrying import retried

_THREADS = 16


def check_against(settings: DuplicateSettings, output: str, encoder: ModelIdentity | None) -> None:
    """Raises UsageError where another output cannot be compared with.

    Args:
      settings: with `against`.
      output: the job's own directory.
      encoder: what embeds the job's images, if that is known.
    """
    for other in settings.against:
        try:
            manifest, job, held = read_manifest(other), read_job(other), lease.read(other)
            lacking = _lacking(other, manifest, job, settings) if manifest and job else None
        except (OSError, UsageError) as error:
            raise UsageError(f"--against {other} cannot be read: {first_line(error)}") from error
        if real(other) == real(output):
            raise UsageError(f"--against {other} is the output itself: what it holds is compared anyway")
        if manifest is None or job is None:
            raise UsageError(
                f"--against {other} holds no finished job ({MANIFEST} is written last): give the output directory of a "
                "job that has run to its end; an evaluation set is made one by running beam-curator curate on it"
            )
        if lacking:
            raise UsageError(
                f"--against {other}: {lacking}, though its {MANIFEST} tells of samples: copy it whole, or run its job "
                "again"
            )
        now = time.time()
        if held is not None and not held.is_over(now):
            raise UsageError(f"--against {other} is being written: {held.describe(now, 'with --take_over there')}")
        embedder = _embedder(manifest, job)
        if SEMANTIC in settings.kinds and encoder and embedder and not encoder.gives(embedder):
            raise UsageError(
                f"--against {other} was embedded by {embedder}, this job by {encoder}: their embeddings cannot be "
                "compared; leave semantic out of --duplicates, or embed one of them anew"
            )


def _embedder(manifest: Mapping[str, Any], job: Job) -> ModelIdentity | None:
    """Gives the model that embedded the images of a finished job, with its precision as resolved there."""
    told = (manifest.get("models") or {}).get(EMBEDDING_STEP)
    precision = told.get("precision") if isinstance(told, Mapping) else None
    return job.encoder and job.encoder.resolved(precision)


def notes_on_precision(settings: DuplicateSettings, models: Mapping[str, ModelIdentity]) -> list[str]:
    """Tells the user, a line each, of other outputs whose embeddings have another precision than the job's.

    `check_against` refuses what is known to differ before any work. What "auto" became is known after it.

    Args:
      settings: the job's.
      models: the finished job's, by step.

    Raises:
      StorageError: when a manifest cannot be read, after retries.
    """
    own = models[EMBEDDING_STEP].precision if EMBEDDING_STEP in models else None
    found = []
    for other in settings.against if SEMANTIC in settings.kinds else ():
        manifest, job = read_manifest(other), read_job(other)
        embedder = _embedder(manifest, job) if manifest and job else None
        theirs = embedder.precision if embedder else None
        if own != theirs and not {own, theirs} & {None, AUTO_PRECISION}:
            found.append(
                f"--against {other} was embedded in {theirs}, this job in {own}: pairs near --duplicate_cosine may "
                "come out on either side of it; embed one of them anew with the other's --precision"
            )
    return found


def notes_on_hashes(settings: DuplicateSettings) -> list[str]:
    """Tells the user, a line each, of other outputs whose samples have no 256-bit perceptual hash.

    It is told by the first file of the ledger, and by the manifest of a job that looked for duplicates itself.

    Raises:
      StorageError: when one cannot be read, after retries.
    """
    found = []
    for other in settings.against if PERCEPTUAL in settings.kinds else ():
        unhashed = (read_manifest(other) or {}).get("unhashed") or 0
        some = f"{counted(unhashed, 'sample')} of it" if unhashed else ""
        if not all(map(_has_hashes, _ledger_files(other)[:1])):
            some = "it"
        if some:
            found.append(
                f"--against {other}: an earlier release, which knew no 256-bit hash, scored {some}: not compared as "
                "perceptual duplicates"
            )
    return found


@retried
def _has_hashes(url: str) -> bool:
    """Tells whether a file of the ledger has 256-bit hashes; one that is damaged is told when it is read."""
    with files.open_for_reading(url) as file:
        try:
            return "phash256" in pq.read_schema(file).names
        except pa.ArrowException:
            return True


def _ledger_files(other: str) -> list[str]:
    return sorted(one.path for one in directories.list_files(urls.join(other, ledger.LEDGER_DIRECTORY), "*.parquet"))


def _lacking(other: str, manifest: Mapping[str, Any], job: Job, settings: DuplicateSettings) -> str | None:
    """Finds a directory of a finished output that has none of the files that are read after scoring; None if none is
    empty.

    Raises:
      StorageError: when they cannot be looked into.
    """
    read = [urls.join(other, ledger.LEDGER_DIRECTORY)]
    if SEMANTIC in settings.kinds:
        read.append(urls.join(job.scores_in(other), SCORES_DIRECTORY))
    for directory in read if manifest["counts"]["seen"] else []:
        if not any(name.endswith(".parquet") for name in directories.iter_files(directory)):
            return f"there is nothing in {directory}"
    return None


def selected_since(settings: DuplicateSettings, manifest: Mapping[str, Any]) -> list[str]:
    """The other outputs that were selected anew after a job that was compared with them had begun.

    Args:
      settings: the job's.
      manifest: the job's.

    Raises:
      StorageError: when one cannot be read, after retries.
    """
    began = str(_timings(manifest).get("started") or "9")
    return [
        other for other in settings.against if str(_timings(read_manifest(other) or {}).get("finished") or "") > began
    ]


def _timings(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    found = manifest.get("timings")
    return found if isinstance(found, Mapping) else {}


def competitors_of_output(other: str, settings: DuplicateSettings, more: Sequence[str] = ()) -> list[Competitors]:
    """The samples of a finished output, as they compete: those that it kept do.

    Args:
      other: the output directory.
      settings: what is needed of each.
      more: other columns of the ledger that are wanted.

    Raises:
      JobError: where it is gone, or some of its ledger, or its score parts are, which hold the embeddings.
      StorageError: when it cannot be read, after retries.
    """
    manifest = read_manifest(other)
    if manifest is None:
        raise JobError(
            f"there is no finished job in {other} (any more, or seen from {Path.cwd()}): bring it back, or run this "
            "job again with --against where it is now"
        )
    job = read_job(other)
    scores = job.scores_in(other) if job is not None else other
    with ThreadPoolExecutor(_THREADS) as threads:
        of_files = threads.map(lambda path: _of_ledger(scores, path, settings, more), _ledger_files(other))
        competitors = [one for some in of_files for one in some]
    there, seen = sum(len(one.table) for one in competitors), manifest["counts"]["seen"]
    if there != seen:
        raise JobError(
            f"{urls.join(other, ledger.LEDGER_DIRECTORY)} has {there:,} samples, the {MANIFEST} beside it tells of "
            f"{seen:,}: copy it whole, or run its job again"
        )
    return competitors


def _of_ledger(scores: str, path: str, settings: DuplicateSettings, more: Sequence[str]) -> list[Competitors]:
    return [_of_range(scores, path, name, table, settings, more) for name, table in tables_of(path)]


def _of_range(
    scores: str, path: str, name: str, table: pa.Table, settings: DuplicateSettings, more: Sequence[str]
) -> Competitors:
    table = ledger.with_ids(table)
    part = urls.join(scores, SCORES_DIRECTORY, f"{name}.parquet")
    if SEMANTIC in settings.kinds and not files.exists(part):
        raise JobError(f"{part}, which holds the embeddings of {path}, is not there any more: run its job again")
    if settings.embeddings:  # then nothing is compared with, and this is the job's own
        part = part_elsewhere(settings.embeddings, part)
    competing = competitors_in(table, settings)
    for column in more:
        competing = competing.append_column(column, table[column])
    url, start = (table["shard"][0].as_py(), table["offset"][0].as_py()) if len(table) else ("", 0)
    return Competitors(part, url, start, part, competing)
