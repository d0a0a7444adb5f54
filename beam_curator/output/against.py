"""Other finished outputs, with which a job's samples are compared."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa

from beam_curator.duplicates.competitors import Competitors, competitors_in
from beam_curator.duplicates.settings import SEMANTIC, DuplicateSettings
from beam_curator.errors import JobError, UsageError
from beam_curator.identities import ModelIdentity
from beam_curator.output import ledger
from beam_curator.output.manifest import MANIFEST, read_manifest
from beam_curator.output.many_ranges import tables_of
from beam_curator.output.ownership import read_job
from beam_curator.output.score_parts import SCORES_DIRECTORY
from beam_curator.storage import files
from beam_curator.storage.places import real

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
            manifest, job = read_manifest(other), read_job(other)
            files.list_files(files.join(other, ledger.LEDGER_DIRECTORY), "*.parquet")  # which is read after scoring
        except (OSError, UsageError) as error:
            raise UsageError(f"--against {other} cannot be read: {files.first_line(error)}") from error
        if real(other) == real(output):
            raise UsageError(f"--against {other} is the output itself: what it holds is compared anyway")
        if manifest is None or job is None:
            raise UsageError(
                f"--against {other} holds no finished job ({MANIFEST} is written last): give the output directory of a "
                "job that has run to its end; an evaluation set is made one by running beam-curator curate on it"
            )
        if SEMANTIC in settings.kinds and encoder and job.encoder and not encoder.gives(job.encoder):
            raise UsageError(
                f"--against {other} was embedded by {job.encoder}, this job by {encoder}: their embeddings cannot be "
                "compared; leave semantic out of --duplicates, or embed one of them anew"
            )


def competitors_of_output(other: str, settings: DuplicateSettings, more: Sequence[str] = ()) -> list[Competitors]:
    """The samples of a finished output, as they compete: those that it kept do.

    Args:
      other: the output directory.
      settings: what is needed of each.
      more: other columns of the ledger that are wanted.

    Raises:
      JobError: where it is gone, or its score parts are, which hold the embeddings.
      StorageError: when it cannot be read, after retries.
    """
    if read_manifest(other) is None:
        raise JobError(f"there is no finished job in {other} (any more, or seen from {Path.cwd()})")
    job = read_job(other)
    scores = job.scores_in(other) if job is not None else other
    found = sorted(one.path for one in files.list_files(files.join(other, ledger.LEDGER_DIRECTORY), "*.parquet"))
    with ThreadPoolExecutor(_THREADS) as threads:
        of_files = threads.map(lambda path: _of_ledger(scores, path, settings, more), found)
        return [one for some in of_files for one in some]


def _of_ledger(scores: str, path: str, settings: DuplicateSettings, more: Sequence[str]) -> list[Competitors]:
    return [_of_range(scores, path, name, table, settings, more) for name, table in tables_of(path)]


def _of_range(
    scores: str, path: str, name: str, table: pa.Table, settings: DuplicateSettings, more: Sequence[str]
) -> Competitors:
    table = ledger.with_ids(table)
    part = files.join(scores, SCORES_DIRECTORY, f"{name}.parquet")
    if SEMANTIC in settings.kinds and not files.exists(part):
        raise JobError(f"{part}, which holds the embeddings of {path}, is not there any more: run its job again")
    competing = competitors_in(table, settings)
    for column in more:
        competing = competing.append_column(column, table[column])
    url, start = (table["shard"][0].as_py(), table["offset"][0].as_py()) if len(table) else ("", 0)
    return Competitors(part, url, start, part, competing)
