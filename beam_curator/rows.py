"""The rows of a batch: one per sample, the columns of the ledger, as an Arrow table.

A row begins as "kept"; a step that cannot go on makes it "failed", a rule makes it "dropped", each with its reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from beam_curator.samples import Sample, ShardRange, readable, sample_uid

KEPT, DROPPED, FAILED = "kept", "dropped", "failed"

SCHEMA = pa.schema(
    [
        pa.field("uid", pa.string()),
        pa.field("shard", pa.string()),
        pa.field("key", pa.string()),
        pa.field("offset", pa.int64()),
        pa.field("span_bytes", pa.int64()),
        pa.field("status", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("same_key", pa.int32()),
        pa.field("image", pa.string()),
        pa.field("images", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("format", pa.string()),
        pa.field("bytes", pa.int64()),
        pa.field("sha256", pa.string()),
        pa.field("phash", pa.string()),
        pa.field("caption", pa.string()),
    ]
)
"""The columns of every row, before scores; `span_bytes` is how much of the shard the sample takes, `same_key` how many
samples of its shard have its key, `image` the member that is scored, `images` how many of its members are images."""

OUTCOME = pa.schema(
    [
        pa.field("duplicate_of", pa.string()),
        pa.field("output_shard", pa.string()),
        pa.field("output_key", pa.string()),
    ]
)
"""The columns that the ledger adds: where the sample went."""

REPEATING = ("shard", "status", "reason", "image", "format", "output_shard")
"""The columns in which many rows say the same: a dictionary in Parquet makes these smaller, and all others larger."""


SCORE_TYPES: Mapping[str, pa.DataType] = {"number": pa.float32(), "flag": pa.bool_(), "text": pa.string()}
"""What a score may be, by the names that `Column.type` has for it."""


def from_samples(
    range: ShardRange,
    samples: Sequence[Sample],
    captions: Sequence[str | None],
    images: Sequence[tuple[str | None, int | None]] = (),
) -> pa.Table:
    """Rows for freshly read samples: kept, unless the tar itself makes them fail.

    Args:
      range: where they are from.
      samples: n samples.
      captions: n texts.
      images: n times the extension of the member that is scored, and how many members are images; or none.
    """
    keys = [readable(sample.key) for sample in samples]
    columns: dict[str, Any] = {
        "uid": [sample_uid(range.url, s.offset, key) for s, key in zip(samples, keys, strict=True)],
        "shard": [range.url] * len(samples),
        "key": keys,
        "offset": [sample.offset for sample in samples],
        "span_bytes": [sample.span_bytes for sample in samples],
        "status": [FAILED if sample.failure else KEPT for sample in samples],
        "reason": [sample.failure for sample in samples],
        "same_key": [sample.same_key for sample in samples],
        "image": [image and readable(image) for image, _ in images] or None,
        "images": [count for _, count in images] or None,
        "caption": captions,
    }
    nothing = [None] * len(samples)
    return pa.table(
        [pa.array(columns.get(field.name) or nothing, field.type) for field in SCHEMA],
        schema=SCHEMA,
    )


def from_dicts(dicts: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows from one mapping a row; columns that are not facts or outcome are float32 scores."""
    known = {field.name: field for field in (*SCHEMA, *OUTCOME)}
    fields = [known.get(name, pa.field(name, pa.float32())) for name in dicts[0]]
    return pa.Table.from_pylist([dict(row) for row in dicts], pa.schema(fields))


def with_column(rows: pa.Table, name: str, values: Any, type: pa.DataType | None = None) -> pa.Table:
    """The rows with this column set or added."""
    index = rows.schema.get_field_index(name)
    if index < 0:
        return rows.append_column(pa.field(name, type or pa.float32()), pa.array(values, type or pa.float32()))
    field = rows.schema.field(index)
    return rows.set_column(index, field, pa.array(values, field.type))


def with_failures(rows: pa.Table, failures: Mapping[int, str]) -> pa.Table:
    """The rows with those at these indices failed, each for its reason; a row that failed before keeps its own."""
    status, reason = rows["status"].to_pylist(), rows["reason"].to_pylist()
    for index, why in failures.items():
        if status[index] != FAILED:
            status[index], reason[index] = FAILED, why
    return with_column(with_column(rows, "status", status), "reason", reason)


def with_score(rows: pa.Table, name: str, scores: np.ndarray) -> pa.Table:
    """The rows with a float32 score column; rows that failed have none (null)."""
    failed = status_is(rows, FAILED)
    values = pa.array(scores.astype(np.float32), pa.float32(), mask=failed)
    return with_column(rows, name, values)


def status_is(rows: pa.Table, status: str) -> np.ndarray:
    """Which rows have this status: bool [n]."""
    return np.asarray(rows["status"].to_pylist(), dtype=object) == status


def score_names(rows: pa.Table) -> list[str]:
    """The names of the score columns: all that are neither facts nor outcome."""
    known = {*SCHEMA.names, *OUTCOME.names}
    return [name for name in rows.schema.names if name not in known]
