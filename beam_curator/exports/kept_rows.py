"""The kept samples of a finished output, range by range in the order of its shards, with their embeddings."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from beam_curator import rows
from beam_curator.errors import JobError, UsageError
from beam_curator.identities import ModelIdentity
from beam_curator.models.scorers.scorer import TEXT_EMBEDDING
from beam_curator.output import ledger
from beam_curator.output.added_columns import read_text_embeddings
from beam_curator.output.checked_parquet import told_if_damaged
from beam_curator.output.column_names import schema_from_files
from beam_curator.output.job_file import read_job
from beam_curator.output.manifest import MANIFEST, read_manifest
from beam_curator.output.many_ranges import tables_of
from beam_curator.output.part_contents import read_embeddings
from beam_curator.output.score_parts import SCORES_DIRECTORY
from beam_curator.storage import directories, files, urls
from beam_curator.storage.retrying import retried


@dataclasses.dataclass(frozen=True)
class Kept:
    """The kept samples of one range.

    Attributes:
      rows: n rows, in the columns of the rows beside a tar, in the order of the output.
      embeddings: float16 [n, dim].
      texts: float16 [n, dim], of the captions, zeros where there is none; None where the job keeps none.
    """

    rows: pa.Table
    embeddings: np.ndarray
    texts: np.ndarray | None = None

    def between(self, start: int, end: int) -> Kept:
        """Returns the samples from index `start` up to `end`."""
        texts = None if self.texts is None else self.texts[start:end]
        return Kept(self.rows.slice(start, end - start), self.embeddings[start:end], texts)


def kept_count(output: str) -> int:
    """Reads from the manifest how many samples a finished output keeps.

    Raises:
      UsageError: where no job was finished, or it kept nothing.
    """
    counts = (read_manifest(output) or {}).get("counts")
    kept = counts.get("kept") if isinstance(counts, dict) else None
    if not isinstance(kept, int):
        raise UsageError(f"{output} holds no finished job ({MANIFEST} is written last): run the job to its end first")
    if not kept:
        raise UsageError(f"{output} keeps not one sample: there is nothing to export")
    return kept


def check_kept(output: str, found: int, kept: int) -> None:
    """Raises JobError where a finished output has other kept samples than its manifest tells of."""
    if found != kept:
        raise JobError(
            f"{output} has {found:,} kept samples, its {MANIFEST} tells of {kept:,}: files are gone: run its "
            "job again, or copy it whole"
        )


def ledgers_in_order(output: str) -> list[str]:
    """The files of a ledger in the order of the input, which is that of the output.

    Raises:
      StorageError: when one cannot be read, after retries, or is damaged.
    """
    found = [one.path for one in directories.list_files(urls.join(output, ledger.LEDGER_DIRECTORY), "*.parquet")]
    return [path for _, path in sorted((_place(path), path) for path in found)]


def _place(path: str) -> tuple[str, int]:
    """Where the first row of a file stands in the input."""
    with told_if_damaged(path):
        return _first_place(path)


@retried
def _first_place(path: str) -> tuple[str, int]:
    with files.open_for_reading(path) as file:
        first = next(pq.ParquetFile(file).iter_batches(1, columns=["shard", "offset"]), None)
    return ("", 0) if first is None else (first["shard"][0].as_py(), first["offset"][0].as_py())


def kept_rows(output: str) -> Iterator[Kept]:
    """The kept samples of each range that has any; one range at a time is in memory.

    Raises:
      JobError: where a range's score part, which has the embeddings, is gone or another one; at the end, where there
        were not as many samples as the manifest tells of.
      StorageError: when a file cannot be read, after retries, or is damaged.
    """
    count, due = 0, kept_count(output)
    scores, model = scores_of(output), text_model_of(output)
    ranges = ((path, *one) for path in ledgers_in_order(output) for one in tables_of(path))
    for path, name, table in ranges:
        kept = np.flatnonzero(rows.status_is(table, rows.KEPT))
        if not len(kept):
            continue
        part = urls.join(scores, SCORES_DIRECTORY, f"{name}.parquet")
        if not files.exists(part):
            raise JobError(f"{part}, which holds the embeddings of {path}, is not there any more: run its job again")
        embeddings = read_embeddings(part).embeddings
        if len(embeddings) != len(table):
            raise JobError(f"{part} has {len(embeddings)} embeddings, {path} {len(table)} rows: run the job again")
        texts = None
        if model is not None:
            found = read_text_embeddings(scores, name, model)
            texts = None if found is None else found[0]
            if texts is None or len(texts) != len(table):
                raise JobError(f"{part}: the text embeddings of its samples are not there any more: run its job again")
        rows_kept = ledger.rows_beside_tar(table.take(pa.array(kept)))
        count += len(kept)
        yield Kept(rows_kept, embeddings[kept], None if texts is None else texts[kept])
    check_kept(output, count, due)


def scores_of(output: str) -> str:
    """The directory that has the scores of an output."""
    job = read_job(output)
    return output if job is None else job.scores_in(output)


def text_model_of(output: str) -> ModelIdentity | None:
    """Finds the model that embedded the captions of a finished output; None where no embeddings of captions are
    kept."""
    job = read_job(output)
    steps = () if job is None else job.scorers
    return next((step.identity for step in steps if step.name == TEXT_EMBEDDING), None)


def with_common_names(table: pa.Table) -> pa.Table:
    """The rows with `image_path` and `url` as well, by which clip-retrieval shows images."""
    named = table.append_column("image_path", table["key"])
    return named.append_column("url", table["json.url"]) if "json.url" in table.schema.names else named


def schema_of_all(output: str) -> pa.Schema:
    """The columns of all exported rows: those of any range, since some have more facts or fields than others.

    Raises:
      StorageError: when a file of the ledger cannot be read, after retries.
    """
    found: dict[str, pa.Field] = {}
    for path in ledgers_in_order(output):
        with told_if_damaged(path):
            empty = ledger.rows_beside_tar(_schema(path).empty_table())
        for field in with_common_names(empty).schema:
            if field.name not in found or pa.types.is_null(found[field.name].type):
                found[field.name] = pa.field(field.name, field.type)
    return pa.schema(list(found.values()))


@retried
def _schema(path: str) -> pa.Schema:
    with files.open_for_reading(path) as file:
        return schema_from_files(pq.read_schema(file)).remove_metadata()


def as_schema(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows in these columns; null where they have none."""
    nothing = [pa.nulls(len(table), field.type) for field in schema]
    return pa.table(
        [
            pc.cast(table[field.name], field.type) if field.name in table.schema.names else nothing[index]
            for index, field in enumerate(schema)
        ],
        schema=schema,
    )
