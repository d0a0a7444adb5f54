"""Writes one output shard: the tar with its samples, the Parquet rows beside it, and its statistics."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_curator import json_text, rows
from beam_curator.identities import ModelIdentity, told_models
from beam_curator.output.added_members import CURATION_EXTENSION, embedding_extension, own_extension
from beam_curator.output.copying import copied_samples
from beam_curator.output.ledger import rows_beside_tar, write_table
from beam_curator.output.part_contents import stored_in
from beam_curator.output.placing import PlacedSamples, shard_name
from beam_curator.output.score_steps import EMBEDDING_STEP
from beam_curator.phases import Span
from beam_curator.samples import readable
from beam_curator.sources.tar.member_table import MEMBERS
from beam_curator.sources.tar.writing import writing_tar
from beam_curator.storage import files, urls
from beam_curator.storage.read_ahead import prefetched
from beam_curator.storage.retrying import retried

LAYOUT_VERSION = 5
"""Goes up when the same samples would give other bytes in an output shard than before."""


@dataclasses.dataclass(frozen=True)
class WrittenShard:
    """An output shard that is written.

    Attributes:
      index: index of the shard, from 0.
      samples: how many samples it holds.
      bytes: size of its tar.
      members: how many samples have a member of each extension, by extension.
      spans: when it was written, or found written already.
    """

    index: int
    samples: int
    bytes: int
    members: Mapping[str, int] = dataclasses.field(default_factory=dict)
    spans: Mapping[str, Span] = dataclasses.field(default_factory=dict, compare=False)


def write_shard(output: str, index: int, runs: Iterable[PlacedSamples]) -> WrittenShard:
    """Writes output shard `index`: NNNNN.tar, NNNNN.parquet (a row for each sample, in order), and last
    NNNNN_stats.json. A shard that stands there already with the same content is left alone.

    Raises:
      JobError: when an input shard no longer holds what was scored.
      StorageError: when something cannot be read or written, after retries.
    """
    ordered = sorted(runs, key=lambda run: run.position)
    table = rows.stacked([_with_fields(run) for run in ordered])
    content = _fingerprint(ordered, table)
    name = shard_name(index)
    standing = _standing(output, name, content, table)
    if standing is not None:
        return WrittenShard(index, table.num_rows, *standing)
    tar_bytes, members = _write_tar(output, f"{name}.tar", ordered)
    write_table(output, f"{name}.parquet", rows_beside_tar(table))
    files.write_bytes(output, f"{name}_stats.json", _described(content, table, tar_bytes, members))
    return WrittenShard(index, table.num_rows, tar_bytes, members)


def _fingerprint(runs: Sequence[PlacedSamples], table: pa.Table) -> str:
    """Hashes all that shapes an output shard: 64 hex digits."""
    digest = hashlib.sha256(f"layout {LAYOUT_VERSION}\n".encode())
    for run in runs:
        shaped_by = {"range": run.range.identity, "models": told_models(run.models)}
        digest.update(json.dumps(shaped_by, sort_keys=True).encode())
        digest.update(np.ascontiguousarray(run.spans, "<i8").tobytes())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    digest.update(sink.getvalue())
    return digest.hexdigest()


def _standing(output: str, name: str, content: str, table: pa.Table) -> tuple[int, dict[str, int]] | None:
    """The tar's bytes and members of the shard that stands there, if it is whole, as far as the tar's size and the
    statistics tell, and has this content."""
    tar, parquet, stats = (urls.join(output, f"{name}{suffix}") for suffix in (".tar", ".parquet", "_stats.json"))
    size = files.size_if_there(tar)
    if size is None or not (files.exists(parquet) and files.exists(stats)):
        return None
    told = files.read_bytes(stats)
    try:
        statistics = json_text.loads(told)
    except ValueError:
        return None
    members = statistics.get("members") if isinstance(statistics, dict) else None
    if not isinstance(members, dict) or not all(type(count) is int for count in members.values()):
        return None
    return (size, members) if told == _described(content, table, size, members) else None


def _described(content: str, table: pa.Table, tar_bytes: int, members: Mapping[str, int]) -> bytes:
    """Makes the content of NNNNN_stats.json."""
    described = {"content": content, **counts_of(table.num_rows, tar_bytes, members), **statistics(table)}
    return _INDENTED.encode(described).encode()


def _with_fields(run: PlacedSamples) -> pa.Table:
    """The rows of a run with the fields of its samples, which are read where they are kept: they are not shuffled."""
    if not run.fields.types:
        return run.rows
    return rows.with_fields(run.rows, run.fields.read_rows(run.range, run.part_rows))


@retried
def _write_tar(output: str, name: str, runs: Sequence[PlacedSamples]) -> tuple[int, dict[str, int]]:
    """The tar's bytes, and of how many samples each extension is a member."""
    remote = urls.is_remote(output)
    members: collections.Counter[str] = collections.Counter()
    with files.atomic_writer(output, name) as file, writing_tar(file, behind=remote) as tar:
        for run, stored in zip(runs, prefetched(_stored, runs, 1 if remote else 0), strict=True):
            members.update(members_written(stored, run.models))
            for pieces in copied_samples(run, stored):
                tar.add(pieces)
                del pieces  # as in `copied_samples`
    return tar.bytes_written, dict(members)


def members_written(stored: pa.Table, models: Mapping[str, ModelIdentity]) -> dict[str, int]:
    """Counts how many samples will have a member of each extension, the members that curation adds among them.

    Args:
      stored: n rows of a score part, with its `members`.
      models: what gave their embeddings.
    """
    embedding = embedding_extension(models)
    extensions = stored[MEMBERS].combine_chunks().flatten().field("extension")
    counted = pc.value_counts(extensions).to_pylist()
    own = {own_extension(one["values"].decode("utf-8", "surrogateescape"), embedding): one["counts"] for one in counted}
    added = {embedding: len(stored), CURATION_EXTENSION: len(stored)}
    return {readable(name): count for name, count in {**own, **added}.items()}


def counts_of(samples: int, tar_bytes: int, members: Mapping[str, int]) -> dict[str, Any]:
    """Describes a tar as a whole for the statistics, also by the names that img2dataset has: all that is in it is a
    success."""
    img2dataset = {"count": samples, "successes": samples, "failed_to_download": 0, "failed_to_resize": 0}
    own = {"samples": samples, "tar_bytes": tar_bytes, "members": dict(sorted(members.items()))}
    return {**own, **img2dataset, "status_dict": {"success": samples}}


def _stored(run: PlacedSamples) -> pa.Table:
    """Reads what only the score part has of a run's samples, in their order."""
    return stored_in(run.part, _content_of(run)).take(pa.array(run.part_rows)).combine_chunks()


def _content_of(run: PlacedSamples) -> str:
    """Tells the stored columns of a run's part from those of another part that stood there before."""
    encoder = run.models.get(EMBEDDING_STEP)
    return json.dumps([run.range.identity, encoder.as_json if encoder else None], sort_keys=True)


def statistics(table: pa.Table) -> dict[str, Any]:
    """Bytes of images; of each score the range and mean of its numbers, how often a flag is true, how many texts there
    are; and how many samples have none, where any has."""
    scores = {name: _statistics_of(table[name]) for name in rows.score_names(table)}
    return {"image_bytes": pc.sum(table["bytes"]).as_py() or 0, "scores": scores}


def _statistics_of(column: pa.ChunkedArray) -> dict[str, Any]:
    there = column.drop_null()
    missing = {"none": column.null_count} if column.null_count else {}
    if pa.types.is_boolean(column.type):
        return {"true": pc.sum(there).as_py() or 0, **missing}
    if not rows.is_number(column.type):
        return {"texts": pc.count_distinct(there).as_py(), **missing}
    if not len(there):
        return missing
    v = there.to_numpy()
    return {"min": float(v.min()), "mean": float(v.mean(dtype=np.float64)), "max": float(v.max()), **missing}


_INDENTED = json.JSONEncoder(sort_keys=True, ensure_ascii=False, indent=2)
