"""Samples as rows with a schema, as Beam's SQL, DataFrames, YAML and file writers take them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Optional

import apache_beam as beam
import pyarrow as pa
from apache_beam.typehints.row_type import RowTypeConstraint

from beam_curator import rows
from beam_curator.samples import SampleBatch
from beam_curator.transforms.lineage import facts_of


def columns_of(batches: beam.PCollection[SampleBatch]) -> list[tuple[str, Any]]:
    """Name and Python type of each column: the facts, the outcome so far, and a score of each `Score` before."""
    facts = [(field.name, _python_type(field.type)) for field in rows.NEW_SCHEMA if field.name != "failure"]
    columns = [column for step in facts_of(batches).steps for column in step.columns]
    return facts + [(column.name, _python_type(rows.SCORE_TYPES[column.type])) for column in columns]


def _python_type(type: pa.DataType) -> Any:
    """Gives the Python type of a column as Beam's schemas know it: `str | None` would be any object there, which no
    file holds."""
    if pa.types.is_floating(type) or pa.types.is_boolean(type):
        return Optional[float] if pa.types.is_floating(type) else Optional[bool]  # noqa: UP045
    return Optional[str] if pa.types.is_string(type) else Optional[int]  # noqa: UP045


def rows_of_batch(batch: SampleBatch, names: Sequence[str]) -> Iterator[beam.Row]:
    """Yields a row of these columns for each sample; a value that a sample does not have is None."""
    for row in batch.rows.to_pylist():
        yield beam.Row(**{name: row.get(name) for name in names})


def row_type(columns: Sequence[tuple[str, Any]]) -> Any:
    """The type hint of such rows."""
    return RowTypeConstraint.from_fields(list(columns))
