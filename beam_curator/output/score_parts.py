"""Score once, select for ever: one Parquet part per range, with rows, scores and embeddings.

A part carries the fingerprint of all that shaped it. A later run with the same fingerprint reads the part and leaves
the range alone; any other part of that name is scored again and replaced.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_curator import rows
from beam_curator.errors import CurationError
from beam_curator.samples import Finding, SampleBatch, ShardError, ShardRange
from beam_curator.sources.tar.extents import EXTENT_TYPE, EXTENTS
from beam_curator.sources.tar.member_table import HEADERS_CRC32, MEMBER_TYPE, MEMBERS, member_columns
from beam_curator.storage import files

SCORING_VERSION = 7
"""Goes up when the same model and range would give other rows, scores, embeddings or layout than before."""

SCORES_DIRECTORY = "scores"

EMBEDDING = "embedding"

MORE_EMBEDDINGS = "more_embeddings"

_STORED = (EMBEDDING, MEMBERS, HEADERS_CRC32, EXTENTS)
"""The columns that only copying needs."""

_METADATA = b"beam_curator"


def fingerprint(range: ShardRange, models: Mapping[str, str]) -> str:
    """All that shapes a part, as 64 hex digits: the shard as it was, the range and how it is read, the models, and this
    software."""
    shaped_by = {
        "scoring_version": SCORING_VERSION,
        "range": range.identity,
        "models": dict(models),
    }
    return hashlib.sha256(json.dumps(shaped_by, sort_keys=True).encode()).hexdigest()


def part_name(range: ShardRange) -> str:
    """The part's place under the output directory."""
    return f"{SCORES_DIRECTORY}/{range.name}.parquet"


def write_part(directory: str, batch: SampleBatch) -> SampleBatch:
    """Writes a scored batch; gives it back without bytes and embeddings, and with its `part`.

    Raises:
      CurationError: for a batch that was never embedded, or without its samples.
      StorageError: when it cannot be written, after retries.
    """
    if batch.embeddings is None:
        raise CurationError("a batch without embeddings cannot be written: put EmbedImages before WriteShards")
    if batch.samples is None:
        raise CurationError("a batch without its samples cannot be written: keep `samples`, which need no bytes for it")
    table = batch.rows
    columns = {EMBEDDING: embedding_array(batch.embeddings), MORE_EMBEDDINGS: more_embeddings_array(batch)}
    for name, column in {**columns, **member_columns(batch.samples)}.items():
        table = table.append_column(name, column)
    several = _has_several_images(table)
    described = {
        "fingerprint": fingerprint(batch.range if several else _of_any_policy(batch.range), batch.models),
        "several_images": several,
        "models": dict(batch.models),
        "errors": [dataclasses.asdict(error) for error in batch.errors],
        "passed_over": dict(batch.passed_over),
        "findings": [dataclasses.asdict(finding) for finding in batch.findings],
    }
    table = table.replace_schema_metadata({_METADATA: json.dumps(described, sort_keys=True)})
    files.write_bytes(directory, part_name(batch.range), _parquet(table))
    return batch.replace(
        samples=None,
        embeddings=None,
        more_embeddings=None,
        more_of=None,
        part=files.join(directory, *part_name(batch.range).split("/")),
    )


def _has_several_images(table: pa.Table) -> bool:
    return any((count or 0) > 1 for count in table["images"].to_pylist())


def _of_any_policy(range: ShardRange) -> ShardRange:
    """The range, whatever is to become of samples with several images: where there are none, it makes no difference."""
    return dataclasses.replace(range, reading=dataclasses.replace(range.reading, several_images="fail"))


def _parquet(table: pa.Table) -> bytes:
    """Embeddings as they are: zstd makes them 8 % smaller, and the reading of them twice as long."""
    sink = pa.BufferOutputStream()
    nested = {MEMBERS: MEMBER_TYPE, EXTENTS: EXTENT_TYPE}
    compressed = [name for name in table.schema.names if name not in (EMBEDDING, MORE_EMBEDDINGS, *nested)]
    compressed += [f"{name}.list.element.{field.name}" for name, type in nested.items() for field in type]
    pq.write_table(table, sink, compression=dict.fromkeys(compressed, "zstd"), use_dictionary=list(rows.REPEATING))
    return sink.getvalue().to_pybytes()


def embedding_array(embeddings: np.ndarray) -> pa.Array:
    """float16 [n, dim] as an Arrow column of fixed-size lists."""
    flat = pa.array(np.ascontiguousarray(embeddings, np.float16).reshape(-1), pa.float16())
    return pa.FixedSizeListArray.from_arrays(flat, embeddings.shape[1])


def more_embeddings_array(batch: SampleBatch) -> pa.Array:
    """The embeddings of samples' other images as an Arrow column: of each sample a list of all their numbers, one image
    after the other, as float16; null where there is none."""
    of: list[list[np.ndarray]] = [[] for _ in range(len(batch))]
    if batch.more_of is not None and batch.more_embeddings is not None:
        for index, embedding in zip(batch.more_of, batch.more_embeddings, strict=True):
            of[index].append(embedding)
    flat = [np.concatenate(some).astype(np.float16) if some else None for some in of]
    return pa.array(flat, pa.list_(pa.float16()))


def read_part(directory: str, range: ShardRange, models: Mapping[str, str] | None) -> SampleBatch | None:
    """The scored batch of a range, without embeddings and samples, or None if these models have not scored this range.

    With `models` None, it is what stands there as this range's part, whatever gave the scores and when.

    Raises:
      StorageError: when it cannot be read, after retries.
    """
    url = files.join(directory, *part_name(range).split("/"))
    if not files.exists(url):
        return None
    content = files.read_bytes(url)
    try:
        part = pq.ParquetFile(pa.BufferReader(content))
        described = _described(part)
        if not described or not (models is None or _is_of(described, range, models)):
            return None
        columns = [name for name in part.schema_arrow.names if name not in (*_STORED, MORE_EMBEDDINGS)]
        table = part.read(columns=columns).replace_schema_metadata(None)
    except (pa.ArrowException, OSError):
        return None  # not a whole part of ours: it is scored again and replaced
    return SampleBatch(
        range,
        table,
        models=described["models"],
        errors=tuple(ShardError(**error) for error in described["errors"]),
        part=url,
        passed_over=described.get("passed_over", {}),
        findings=tuple(Finding(**finding) for finding in described.get("findings", ())),
    )


def _is_of(described: Mapping[str, Any], range: ShardRange, models: Mapping[str, str]) -> bool:
    """Whether a part is what these models would give of the range now."""
    alike = range if described.get("several_images") else _of_any_policy(range)
    return described["fingerprint"] == fingerprint(alike, models)


def is_described(schema: pa.Schema) -> bool:
    """Whether a file with this schema is a score part."""
    return _METADATA in (schema.metadata or {})


def count_samples(parts: Sequence[str]) -> int:
    """How many samples have their scores in these parts; one that is damaged has none.

    Raises:
      StorageError: when one cannot be read, after retries.
    """
    with ThreadPoolExecutor(16) as threads:
        return sum(threads.map(_samples_in, parts))


@files.retried
def _samples_in(part: str) -> int:
    try:
        with files.open_for_reading(part) as file:
            return pq.read_metadata(file).num_rows
    except pa.ArrowException:
        return 0


def _described(part: pq.ParquetFile) -> dict[str, Any]:
    return json.loads((part.schema_arrow.metadata or {}).get(_METADATA, b"{}"))


def read_stored(part: str) -> pa.Table:
    """The columns of a part that `read_part` leaves out: for `embeddings_of` and `MemberTable.of`.

    Raises:
      StorageError: when it cannot be read, after retries.
    """
    return pq.ParquetFile(pa.BufferReader(files.read_bytes(part))).read(columns=list(_STORED), use_threads=False)


@functools.lru_cache(maxsize=3)
def stored_in(part: str, _content: str) -> pa.Table:
    """As `read_stored`, and remembered: a range's kept samples go to several output shards, one after the other.

    What shaped the part tells it from one of the same name that stood there before.
    """
    return read_stored(part)


def forget_part(part: str) -> None:
    """Removes a part that is not what its fingerprint says, so that its range is scored anew.

    Raises:
      StorageError: when it cannot be removed, after retries.
    """
    files.delete([part])
    stored_in.cache_clear()


def count_more_embeddings(part: str) -> list[int]:
    """How many embeddings a part has of each sample's other images.

    Raises:
      StorageError: when it cannot be read, after retries.
    """
    columns = pq.ParquetFile(pa.BufferReader(files.read_bytes(part))).read(columns=[EMBEDDING, MORE_EMBEDDINGS])
    dim = columns.schema.field(EMBEDDING).type.list_size
    return [len(more or ()) // dim for more in columns[MORE_EMBEDDINGS].to_pylist()]


def embeddings_of(stored: pa.Table) -> np.ndarray:
    """The embeddings in these rows of a part: float16 [n, dim]."""
    column = stored[EMBEDDING].combine_chunks()
    return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, column.type.list_size)
