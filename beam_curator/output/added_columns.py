"""Score columns that a finished range lacks: computed later, from what it has, and kept beside its part.

One Parquet file for each range and scorer, `columns/SCORER/RANGE.parquet`, with a row for each of the part's. It says
what it was computed from; where that, or the scorer, is another now, it is computed again and replaced.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_curator import rows
from beam_curator.identities import ModelIdentity
from beam_curator.models.scorers.scorer import TEXT_EMBEDDING
from beam_curator.output import checked_parquet
from beam_curator.output.embedding_column import float16_of, in_dictionaries
from beam_curator.output.field_store import found_fields
from beam_curator.output.score_parts import (
    SCORES_DIRECTORY,
    StoredRange,
    described_in,
    read_part,
    text_embedding_array,
)
from beam_curator.output.score_steps import ScoreStep, Wanted
from beam_curator.samples import SampleBatch, ShardRange
from beam_curator.storage import files, urls

COLUMNS_DIRECTORY = "columns"

_METADATA = b"beam_curator"


def columns_name(range: ShardRange, scorer: str) -> str:
    """The file's place under the output directory."""
    return f"{COLUMNS_DIRECTORY}/{scorer}/{range.name}.parquet"


def is_added_columns(schema: pa.Schema) -> bool:
    """Tells whether a file with this schema holds added columns."""
    return b'"computed_from"' in (schema.metadata or {}).get(_METADATA, b"")


def write_columns(directory: str, stored: StoredRange, step: ScoreStep, scored: SampleBatch) -> StoredRange:
    """Writes what a scorer gave of a range; gives the range with it, as it is read again.

    Args:
      directory: the output directory.
      stored: the range as it stands.
      step: the scorer.
      scored: the range's rows with the scorer's columns.

    Raises:
      StorageError: when it cannot be written, after retries.
    """
    step = step.resolved(scored.models)
    names = [*(column.name for column in step.columns), rows.failure_column(step.name)]
    table = scored.rows.select([name for name in names if name in scored.rows.schema.names])
    repeating: list[str] = []
    if step.name == TEXT_EMBEDDING:
        vectors = text_embedding_array(scored)
        table = table.append_column(rows.field_of(TEXT_EMBEDDING, vectors.type, rows.INTERNAL), vectors)
        repeating = in_dictionaries([TEXT_EMBEDDING])
    told = {_METADATA: json.dumps(_told(stored, step), sort_keys=True)}
    content = checked_parquet.encoded(table.replace_schema_metadata(told), repeating)
    files.write_bytes(directory, columns_name(stored.batch.range, step.name), content)
    return _merged(stored, step, table.select([name for name in table.schema.names if name != TEXT_EMBEDDING]))


def _told(stored: StoredRange, step: ScoreStep) -> dict[str, object]:
    computed_from = step.computed_from(stored.encoder) if stored.encoder else {}
    return {"range": stored.range, "computed_from": computed_from, "scorer": step.as_json}


def read_range(directory: str, range: ShardRange, wanted: Wanted) -> StoredRange | None:
    """Reads what is stored of a range and a job wants: its part, the columns beside it, and what was met of its fields;
    None if there is no part that will do.

    Raises:
      StorageError: when it cannot be read, after retries.
    """
    stored = read_part(directory, range, wanted.encoder)
    if stored is None:
        return None
    if stored.lacks_fields:
        found = found_fields(directory, range, stored.range)
        stored = StoredRange(stored.batch.replace(fields=found), stored.range, stored.steps)
    return completed(directory, stored, wanted.steps)


def completed(directory: str, stored: StoredRange, steps: Sequence[ScoreStep]) -> StoredRange:
    """A part's range with the columns of these steps alone, those beside the part among them.

    Raises:
      StorageError: when one cannot be read, after retries.
    """
    stored = stored.only(steps)
    for step in stored.lacking(steps):
        stored = _with_columns(directory, stored, step)
    return stored.only(steps)


def _with_columns(directory: str, stored: StoredRange, step: ScoreStep) -> StoredRange:
    """The range with the columns that were computed for this step, if they are there."""
    url = urls.join(directory, *columns_name(stored.batch.range, step.name).split("/"))
    found = _read(url, stored, step)
    return stored if found is None else _merged(stored, *found)


def read_text_embeddings(directory: str, name: str, model: ModelIdentity) -> tuple[np.ndarray, ModelIdentity] | None:
    """The embeddings of a range's captions by this model, float16 [n, dim], zeros where there is none, and the model
    with the precision in which they were computed; None where they are not kept.

    Args:
      directory: the output directory.
      name: that of the range (`ShardRange.name`), whose part stands.
      model: the identity of what embeds captions; of precision "auto" it is any.

    Raises:
      StorageError: when they cannot be read, after retries, or are damaged.
    """
    url = urls.join(directory, SCORES_DIRECTORY, f"{name}.parquet")
    content = files.read_bytes(url)
    with checked_parquet.told_if_damaged(url):
        part = checked_parquet.opened(content)
        told = described_in(part.schema_arrow)
        by = next((found for step in told["scorers"] if (found := _text_model(step, model)) is not None), None)
        if by is not None:
            return _text_embeddings_in(part, told["dim"]), by
    beside = urls.join(directory, COLUMNS_DIRECTORY, TEXT_EMBEDDING, f"{name}.parquet")
    if not files.exists(beside):
        return None
    content = files.read_bytes(beside)
    with checked_parquet.told_if_damaged(beside):
        file = checked_parquet.opened(content)
        of_file = json.loads((file.schema_arrow.metadata or {}).get(_METADATA, b"{}"))
        by = _text_model(of_file["scorer"], model) if of_file.get("range") == told["range"] else None
        return None if by is None else (_text_embeddings_in(file, told["dim"]), by)


def _text_model(step: Mapping[str, Any], wanted: ModelIdentity) -> ModelIdentity | None:
    """Gives the model that embedded captions, if this stored step did that by the model that is wanted; else None."""
    found = ModelIdentity.of(step["identity"])
    return found if step["name"] == TEXT_EMBEDDING and wanted.gives(found) else None


def _text_embeddings_in(file: pq.ParquetFile, dim: int) -> np.ndarray:
    return float16_of(file.read(columns=[TEXT_EMBEDDING])[TEXT_EMBEDDING], dim)


def _merged(stored: StoredRange, step: ScoreStep, table: pa.Table) -> StoredRange:
    merged = stored.batch.rows
    for field in table.schema:
        merged = merged.append_column(field, table[field.name])
    models, steps = {**stored.batch.models, step.name: step.identity}, (*stored.steps, step)
    merged = rows.unselected(merged, [one.name for one in steps])
    return StoredRange(stored.batch.replace(rows=merged, models=models), stored.range, steps)


def _read(url: str, stored: StoredRange, wanted: ScoreStep) -> tuple[ScoreStep, pa.Table] | None:
    """The step as it was computed of this range, and its columns; None where they are not what is wanted."""
    if not files.exists(url):
        return None
    content = files.read_bytes(url)
    try:
        file = checked_parquet.opened(content)
        told = json.loads((file.schema_arrow.metadata or {}).get(_METADATA, b"{}"))
        step = ScoreStep.read(told["scorer"])
        if told != _told(stored, step) or not wanted.gives(step):
            return None
        if file.metadata.num_rows != len(stored.batch):  # a table without columns may lose its length
            return None
        table = file.read(columns=[name for name in file.schema_arrow.names if name != TEXT_EMBEDDING])
    except checked_parquet.NOT_OURS:
        return None  # not a whole one of ours: it is computed again and replaced
    return step, table.replace_schema_metadata(None)
