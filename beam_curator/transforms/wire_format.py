"""Batches, ranges and shards as bytes, for their way between workers: references travel, bytes of members never do.

A batch is a line of JSON with its small parts, and after it the rows as an Arrow stream and the embeddings as they lie
in memory. The same batch is always the same bytes. Nothing that is read can name code to run, but for what a user's own
step has hung on samples of a batch, which is pickled.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from beam_curator import rows
from beam_curator.errors import CurationError
from beam_curator.field_tally import FieldsFound
from beam_curator.identities import models_of, told_models
from beam_curator.phases import Span
from beam_curator.reading import Reading
from beam_curator.rule_tally import RuleTally
from beam_curator.samples import Finding, Member, Sample, SampleBatch, Shard, ShardError, ShardRange
from beam_curator.sources.pieces import PieceOfRange

_ARRAYS = ("embeddings", "more_embeddings", "more_of", "text_embeddings", "caption_tokens")
_HUNG_ON = ("row", "embedding", "range", "models", "more_embeddings", "of_batch")
"""The attributes of a sample that it has only outside of a batch."""


def encode_shard(shard: Shard) -> bytes:
    """A shard; where it is read goes with it."""
    return _line(_values(shard))


def decode_shard(encoded: bytes) -> Shard:
    """The inverse of `encode_shard`."""
    return Shard(*json.loads(encoded))


def encode_range(range: ShardRange) -> bytes:
    """A range with its shard."""
    return _line(_range_values(range))


def decode_range(encoded: bytes) -> ShardRange:
    """The inverse of `encode_range`."""
    return _range(json.loads(encoded))


def encode_batch(batch: SampleBatch) -> bytes:
    """A batch with its rows and embeddings; of its members only where they are.

    Raises:
      CurationError: for a piece of a range, which is joined on the worker that read it.
    """
    if isinstance(batch, PieceOfRange):
        raise CurationError(f"{batch.range.url}: a piece of a range was to go to another worker: it must stay fused")
    pieces = [_arrow(batch.rows)]
    arrays: dict[str, Any] = {}
    for name in _ARRAYS:
        array = getattr(batch, name)
        if array is not None:
            arrays[name] = [array.dtype.str, array.shape]
            pieces.append(np.ascontiguousarray(array).tobytes())
    small = {
        "range": _range_values(batch.range),
        "samples": None if batch.samples is None else [_sample_values(sample) for sample in batch.samples],
        "models": told_models(batch.models),
        "errors": [_values(error) for error in batch.errors],
        "part": batch.part,
        "batch_reductions": batch.batch_reductions,
        "judged": {name: _values(tally) for name, tally in batch.judged.items()},
        "passed_over": dict(batch.passed_over),
        "findings": [_values(finding) for finding in batch.findings],
        "fields": None if batch.fields is None else batch.fields.as_json,
        "spans": {phase: _values(span) for phase, span in batch.spans.items()},
        "arrays": arrays,
        "sizes": [len(piece) for piece in pieces],
    }
    return b"".join([_line(small), b"\n", *pieces])


def decode_batch(encoded: bytes) -> SampleBatch:
    """The inverse of `encode_batch`."""
    end = encoded.index(b"\n")
    small = json.loads(encoded[:end])
    rest, pieces = memoryview(encoded)[end + 1 :], []
    for size in small.pop("sizes"):
        pieces.append(rest[:size])
        rest = rest[size:]
    arrays = {
        name: np.frombuffer(piece, dtype).reshape(shape).copy()
        for (name, (dtype, shape)), piece in zip(small.pop("arrays").items(), pieces[1:], strict=True)
    }
    samples, fields = small.pop("samples"), small.pop("fields")
    return SampleBatch(
        _range(small.pop("range")),
        pa.ipc.open_stream(bytes(pieces[0])).read_all(),  # a copy, so that Arrow's buffers are aligned
        None if samples is None else [_sample(values) for values in samples],
        errors=tuple(ShardError(*values) for values in small.pop("errors")),
        judged={name: RuleTally(*values) for name, values in small.pop("judged").items()},
        findings=tuple(Finding(*values) for values in small.pop("findings")),
        models=models_of(small.pop("models")),
        fields=None if fields is None else FieldsFound.read(fields),
        spans={phase: Span(*values) for phase, values in small.pop("spans").items()},
        **arrays,
        **small,
    )


def size_of(batch: SampleBatch) -> int:
    """Estimates how many bytes `encode_batch` gives, without encoding."""
    arrays = [array for array in (getattr(batch, name) for name in _ARRAYS) if array is not None]
    return 1000 + batch.rows.nbytes + sum(array.nbytes for array in arrays) + 200 * len(batch.samples or ())


def _line(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), default=_number).encode("ascii")  # also names that are no UTF-8


def _number(value: Any) -> Any:
    """A number of Python for one of NumPy, as a user's step may give."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no place in a SampleBatch")


def _values(one: Any) -> list[Any]:
    """The attributes of a flat dataclass, in their order."""
    return [getattr(one, field.name) for field in dataclasses.fields(one)]


def _range_values(range: ShardRange) -> dict[str, Any]:
    values = {field.name: getattr(range, field.name) for field in dataclasses.fields(range)}
    return {**values, "shard": _values(range.shard), "reading": _values(range.reading)}


def _range(values: Mapping[str, Any]) -> ShardRange:
    return ShardRange(**{**values, "shard": Shard(*values["shard"]), "reading": Reading(*values["reading"])})


def _sample_values(sample: Sample) -> list[Any]:
    members = [[extension, m.extension, m.offset, m.size] for extension, m in sample.members.items()]
    hung_on = [getattr(sample, name) for name in _HUNG_ON]
    plain = [sample.key, sample.offset, sample.span_bytes, members, sample.failure, sample.headers_crc32]
    others = base64.b64encode(pickle.dumps(hung_on, 5)).decode() if any(_is_set(value) for value in hung_on) else None
    return [*plain, sample.extents, sample.same_key, others]


def _is_set(value: Any) -> bool:
    return isinstance(value, np.ndarray) or (value is not None and value != {})


def _sample(values: Sequence[Any]) -> Sample:
    key, offset, span_bytes, members, failure, crc32, extents, same_key, others = values
    named = {extension: Member(*member) for extension, *member in members}
    pieces = tuple((start, size) for start, size in extents)
    sample = Sample(key, offset, span_bytes, named, failure, crc32, pieces, same_key)
    if others is None:
        return sample
    hung_on = pickle.loads(base64.b64decode(others))
    return dataclasses.replace(sample, **dict(zip(_HUNG_ON, hung_on, strict=True)))


def _arrow(table: pa.Table) -> bytes:
    """The table as a stream of Arrow; taken afresh, so that nothing lies unseen under nulls and around slices. Rows
    that wait with some of their columns are to take little room: they are compressed."""
    fresh = table.take(np.arange(table.num_rows)).combine_chunks()
    is_whole = all(name in fresh.schema.names for name in rows.SCHEMA.names)
    options = pa.ipc.IpcWriteOptions(compression=None if is_whole else "zstd")
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, fresh.schema, options=options) as writer:
        writer.write_table(fresh)
    return stream.getvalue().to_pybytes()
