"""Score once, select for ever: one Parquet part per range, with rows, scores and embeddings.

A part says what shaped it, step by step: the range, the encoder, and each scorer. A later run reads it for what it
still wants of it, and leaves the range alone; columns that it lacks are computed from what it has, and kept beside it
(`added_columns`). A part of another range or encoder is scored again and replaced.
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
from beam_curator.errors import CurationError, StorageError
from beam_curator.field_tally import FieldsFound
from beam_curator.identities import ModelIdentity
from beam_curator.models.scorers.scorer import TEXT_EMBEDDING
from beam_curator.output import checked_parquet, parts_before_steps
from beam_curator.output.embedding_column import (
    embedding_array,
    float16_of,
    in_dictionaries,
    lengths_of,
    lists_of,
    of_one_length,
)
from beam_curator.output.field_store import as_carried, fields_told, write_fields
from beam_curator.output.score_steps import EMBEDDING_STEP, ScoreStep, arranged, without_steps
from beam_curator.samples import Finding, SampleBatch, ShardError, ShardRange, shard_in
from beam_curator.sources.listing import passed_over_in
from beam_curator.sources.shard_identity import MARK
from beam_curator.sources.tar.extents import EXTENTS
from beam_curator.sources.tar.member_table import HEADERS_CRC32, MEMBERS, member_columns
from beam_curator.storage import files

SCORING_VERSION = 8
"""Goes up when the same model and range would give other rows, scores, embeddings or layout than before."""

SCORES_DIRECTORY = "scores"

EMBEDDING = "embedding"

MORE_EMBEDDINGS = "more_embeddings"

_STORED = (EMBEDDING, MEMBERS, HEADERS_CRC32, EXTENTS)
"""The columns that only copying needs."""

_METADATA = b"beam_curator"


def range_fingerprint(range: ShardRange, several_images: bool) -> str:
    """All that shapes a range's samples, as 64 hex digits: the shard as it was, the range, how it is read, and this
    software.

    Args:
      range: which one.
      several_images: whether any of its samples holds several images; where none does, it makes no difference what is
        to become of those.
    """
    alike = range if several_images else _of_any_policy(range)
    shaped_by = {"scoring_version": SCORING_VERSION, "range": alike.identity}
    return hashlib.sha256(json.dumps(shaped_by, sort_keys=True).encode()).hexdigest()


def directory_of(part: str) -> str:
    """The output directory that has a part."""
    return part.rsplit("/", 2)[0]


def part_name(range: ShardRange) -> str:
    """The part's place under the output directory."""
    return f"{SCORES_DIRECTORY}/{range.name}.parquet"


def write_part(directory: str, batch: SampleBatch, steps: Sequence[ScoreStep]) -> SampleBatch:
    """Writes a scored batch; gives it back without bytes and embeddings, and with its `part`.

    What rules made of the samples is no part of it: it is the same whatever is selected. Fields of the samples'
    metadata go beside it, before it (`field_store`).

    Args:
      directory: the output directory.
      batch: what to write.
      steps: the scorers that gave its scores; columns of a user's own step, which no scorer gave, go with them.

    Raises:
      CurationError: for a batch that was never embedded, or without its samples.
      StorageError: when it cannot be written, after retries.
    """
    if batch.embeddings is None:
        raise CurationError("a batch without embeddings cannot be written: put EmbedImages before WriteShards")
    steps = [step.resolved(batch.models) for step in steps]
    if batch.samples is None:
        raise CurationError("a batch without its samples cannot be written: keep `samples`, which need no bytes for it")
    table = rows.without_fields(batch.rows).drop_columns(["status", "reason"])
    none = rows.unusable(batch.rows)
    columns = {EMBEDDING: embedding_array(batch.embeddings, none), MORE_EMBEDDINGS: more_embeddings_array(batch)}
    if TEXT_EMBEDDING in (step.name for step in steps):
        columns[TEXT_EMBEDDING] = text_embedding_array(batch)
    for name, column in {**columns, **member_columns(batch.samples)}.items():
        table = table.append_column(rows.field_of(name, column.type, rows.INTERNAL), column)
    several = _has_several_images(table)
    encoder = batch.models.get(EMBEDDING_STEP)
    described: dict[str, Any] = {
        "range": range_fingerprint(batch.range, several),
        "several_images": several,
        "encoder": encoder.told if encoder else None,
        "dim": batch.embeddings.shape[1],
        "embeddings": hashlib.sha256(batch.embeddings.astype(np.float16).tobytes()).hexdigest(),
        "scorers": [step.told for step in steps],
        "errors": [dataclasses.asdict(error) for error in batch.errors],
        "passed_over": dict(batch.passed_over),
        "findings": [dataclasses.asdict(finding) for finding in batch.findings],
    }
    fields = None
    if rows.field_names(batch.rows):
        fields = write_fields(directory, batch, described["range"])
    elif batch.range.reading.carry:  # there are none: the part says so
        fields = batch.fields or FieldsFound()
        described["fields"] = fields_told(batch.range, fields, described["range"])
    table = table.replace_schema_metadata({_METADATA: json.dumps(described, sort_keys=True)})
    files.write_bytes(directory, part_name(batch.range), _parquet(table))
    return batch.replace(
        fields=fields,
        samples=None,
        embeddings=None,
        more_embeddings=None,
        more_of=None,
        text_embeddings=None,
        caption_tokens=None,
        part=files.join(directory, *part_name(batch.range).split("/")),
    )


def _has_several_images(table: pa.Table) -> bool:
    return any((count or 0) > 1 for count in table["images"].to_pylist())


def _of_any_policy(range: ShardRange) -> ShardRange:
    """The range, whatever is to become of samples with several images: where there are none, it makes no difference."""
    return dataclasses.replace(range, reading=dataclasses.replace(range.reading, several_images="fail"))


def _parquet(table: pa.Table) -> bytes:
    repeating = [*rows.REPEATING, *in_dictionaries([EMBEDDING, MORE_EMBEDDINGS, TEXT_EMBEDDING])]
    return checked_parquet.encoded(table, repeating)


def more_embeddings_array(batch: SampleBatch) -> pa.Array:
    """The embeddings of samples' other images as an Arrow column: of each sample a list of all their numbers, one image
    after the other; null where there is none."""
    of: list[list[np.ndarray]] = [[] for _ in range(len(batch))]
    if batch.more_of is not None and batch.more_embeddings is not None:
        for index, embedding in zip(batch.more_of, batch.more_embeddings, strict=True):
            of[index].append(embedding)
    return lists_of(of)


def text_embedding_array(batch: SampleBatch) -> pa.Array:
    """The embeddings of a batch's captions as an Arrow column; null where there is none.

    Raises:
      CurationError: for a batch that has lost them.
    """
    if batch.text_embeddings is None:
        raise CurationError(
            "embeddings of captions were lost on the way: put EmbedCaptions after the step that makes new batches"
        )
    return embedding_array(batch.text_embeddings, np.logical_not(batch.text_embeddings.any(axis=1)))


@dataclasses.dataclass(frozen=True)
class StoredRange:
    """What stands of a range: rows with the scores that are there, without embeddings and samples.

    Attributes:
      batch: its rows as they are before any rule, and its part; its `models` are those of the steps that are there.
      range: `range_fingerprint` of the part.
      steps: the scorers whose columns it has.
    """

    batch: SampleBatch
    range: str
    steps: tuple[ScoreStep, ...]

    @property
    def lacks_fields(self) -> bool:
        """Whether fields are to be carried that are not there."""
        return bool(self.batch.range.reading.carry) and self.batch.fields is None

    @property
    def encoder(self) -> ModelIdentity | None:
        """What embedded it."""
        return self.batch.models.get(EMBEDDING_STEP)

    def lacking(self, steps: Sequence[ScoreStep]) -> list[ScoreStep]:
        """Those of these steps that it does not have."""
        return [step for step in steps if not any(step.gives(known) for known in self.steps)]

    def only(self, steps: Sequence[ScoreStep]) -> StoredRange:
        """The same with the columns of these steps alone, as far as it has them, in their order, and as they were
        computed."""
        there = tuple(known for step in steps for known in self.steps if step.gives(known))
        gone = [step for step in self.steps if step not in there]
        table = arranged(without_steps(self.batch.rows, gone), there)
        if gone:
            table = rows.unselected(table, [step.name for step in there])
        models = {name: model for name, model in self.batch.models.items() if name == EMBEDDING_STEP}
        models |= {step.name: step.identity for step in there}
        return StoredRange(self.batch.replace(rows=table, models=models), self.range, there)


def read_part(directory: str, range: ShardRange, encoder: ModelIdentity | None) -> StoredRange | None:
    """What a range's part holds, or None if this encoder has not embedded this range as it is.

    With `encoder` None, it is what stands there as this range's part, whatever embedded it and when.

    Raises:
      StorageError: when it cannot be read, after retries.
    """
    url = files.join(directory, *part_name(range).split("/"))
    if not files.exists(url):
        return None
    content = files.read_bytes(url)
    try:
        part = checked_parquet.opened(content)
        described = _described(part.schema_arrow, range, anyhow=encoder is None)
        if described is None or not (encoder is None or (described.encoder and encoder.gives(described.encoder))):
            return None
        columns = [name for name in part.schema_arrow.names if name not in (*_STORED, MORE_EMBEDDINGS, TEXT_EMBEDDING)]
        table = part.read(columns=[*columns, HEADERS_CRC32]).replace_schema_metadata(None)
        table = _with_ids(table, range)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError):
        return None  # not a whole part of ours: it is scored again and replaced
    table = parts_before_steps.rows_of(table) if described.before_steps else _with_outcome(table)
    models = {EMBEDDING_STEP: described.encoder} if described.encoder else {}
    batch = SampleBatch(
        range,
        rows.unselected(table, [step.name for step in described.steps]),
        models={**models, **{step.name: step.identity for step in described.steps}},
        errors=tuple(ShardError(**error) for error in described.errors),
        part=url,
        passed_over=_passed_over(range, described.passed_over),
        findings=tuple(Finding(**finding) for finding in described.findings),
        fields=as_carried(described.fields, range, described.range),
    )
    return StoredRange(batch, described.range, described.steps)


def facts_in_part(directory: str, range: ShardRange, encoder: ModelIdentity) -> frozenset[str] | None:
    """Which of `rows.OPTIONAL_FACTS` a range's part has, told by its footer; None where `read_part` gives None.

    Raises:
      StorageError: when it cannot be read, after retries.
    """
    url = files.join(directory, *part_name(range).split("/"))
    if not files.exists(url):
        return None
    try:
        schema = _schema_of(url)
        described = _described(schema, range, anyhow=False)
    except StorageError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError):
        return None
    if described is None or not (described.encoder and encoder.gives(described.encoder)):
        return None
    if described.before_steps:
        return frozenset()
    return frozenset(name for name in rows.OPTIONAL_FACTS.names if rows.has_fact(schema, name))


@files.retried
def _schema_of(part: str) -> pa.Schema:
    with files.open_for_reading(part) as file:
        return pq.read_schema(file)


def _passed_over(range: ShardRange, told: Mapping[str, int]) -> Mapping[str, int]:
    """What belongs to no sample of a range, by kind: in a folder what lies there now, for a file that is no image
    changes none of its shards."""
    if range.shard.listing and (told or range.url.endswith(MARK)):
        return passed_over_in(range.shard.listing, range.start, range.end)
    return told


def _with_ids(table: pa.Table, range: ShardRange) -> pa.Table:
    """The rows with the ids that their samples have now, without the column that this may take: those of the part, if
    its shard is still called the same, else made anew of what a part of any release holds. Releases that had other ids
    called them `uid`."""
    if _ID in table.schema.names and len(table) and shard_in(table[_ID][0].as_py()) == range.shard.called:
        return table.drop_columns([HEADERS_CRC32])
    keys, offsets, crc32 = (table[name].to_pylist() for name in ("key", "offset", HEADERS_CRC32))
    ids = pa.array(rows.ids_of(range, keys, offsets, crc32), pa.string())
    gone = {HEADERS_CRC32, _ID if _ID in table.schema.names else _OLD_ID}
    others = table.select([name for name in table.schema.names if name not in gone])
    return others.add_column(0, rows.SCHEMA.field(_ID), ids)


_ID, _OLD_ID = "sample_id", "uid"


def _with_outcome(table: pa.Table) -> pa.Table:
    """A part's rows with the columns for what becomes of the samples, in the order of `rows.fields_there`."""
    nothing = pa.nulls(len(table), pa.string())
    columns = {name: table[name] for name in table.schema.names} | {"status": nothing, "reason": nothing}
    facts = rows.fields_there(table.schema)
    known = {field.name for field in facts}
    schema = pa.schema([*facts, *(field for field in table.schema if field.name not in known)])
    return pa.table([columns[field.name] for field in schema], schema=schema)


@dataclasses.dataclass(frozen=True)
class _Described:
    """What a part says of itself; of the fields of its samples only where they have none."""

    range: str
    encoder: ModelIdentity | None
    steps: tuple[ScoreStep, ...]
    errors: Sequence[Mapping[str, Any]]
    passed_over: Mapping[str, int]
    findings: Sequence[Mapping[str, Any]]
    before_steps: bool = False
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def _described(schema: pa.Schema, range: ShardRange, anyhow: bool) -> _Described | None:
    """What a part with this schema says of itself, or None where it is nobody's, or, unless `anyhow`, of this range in
    another state."""
    told = json.loads((schema.metadata or {}).get(_METADATA, b"{}"))
    if not isinstance(told, dict) or not told:
        return None
    several = bool(told.get("several_images"))
    due = range_fingerprint(range, several)
    errors, passed_over, findings = told["errors"], told.get("passed_over", {}), told.get("findings", ())
    if "models" in told:
        wanted = parts_before_steps.wanted_of(told["models"])
        whole = parts_before_steps.is_whole(told, range if several else _of_any_policy(range))
        if wanted is None or not (anyhow or whole):
            return None
        return _Described(due, wanted.encoder, wanted.steps, errors, passed_over, findings, before_steps=True)
    if not anyhow and told["range"] != due:
        return None
    encoder = ModelIdentity.of(told["encoder"]) if told["encoder"] else None
    steps = tuple(ScoreStep.read(step) for step in told["scorers"])
    fields = told.get("fields", {})
    return _Described(told["range"], encoder, steps, errors, passed_over, findings, fields=fields)


def described_in(schema: pa.Schema) -> dict[str, Any]:
    """What a score part with this schema says of itself, as `write_part` wrote it; a part of an early release has no
    scorers, for it told models in words."""
    told = json.loads((schema.metadata or {}).get(_METADATA, b"{}"))
    return {"range": None, "scorers": [], "dim": 0, **told}


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


def embeddings_digest(part: str) -> str | None:
    """What tells a part's embeddings from others: 64 hex digits; None for a part of an earlier release, which does not
    say it.

    Raises:
      StorageError: when it cannot be read, after retries.
      OSError, ArrowException: when it is damaged.
    """
    return json.loads(_metadata_of(part).get(_METADATA, b"{}")).get("embeddings")


def range_in_part(part: str) -> str | None:
    """The `range_fingerprint` that a part was made with. Raises as `embeddings_digest`."""
    return json.loads(_metadata_of(part).get(_METADATA, b"{}")).get("range")


@files.retried
def _metadata_of(part: str) -> dict[bytes, bytes]:
    with files.open_for_reading(part) as file:
        return pq.read_metadata(file).metadata or {}


@files.retried
def _samples_in(part: str) -> int:
    try:
        with files.open_for_reading(part) as file:
            return pq.read_metadata(file).num_rows
    except pa.ArrowException:
        return 0


def read_stored(part: str) -> pa.Table:
    """The columns of a part that `read_part` leaves out, embeddings as lists of one length: for `embeddings_of` and
    `MemberTable.of`.

    Raises:
      StorageError: when it cannot be read, after retries, or is damaged.
    """
    content = files.read_bytes(part)
    with checked_parquet.told_if_damaged(part):
        file = checked_parquet.opened(content)
        stored = file.read(columns=list(_STORED), use_threads=False)
        return stored.set_column(0, EMBEDDING, of_one_length(stored[EMBEDDING], _dim_of(file)))


def _dim_of(part: pq.ParquetFile) -> int:
    """The length of an embedding in a part without one; parts of earlier releases say it in the column's type."""
    return int(json.loads((part.schema_arrow.metadata or {}).get(_METADATA, b"{}")).get("dim", 0))


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


@dataclasses.dataclass(frozen=True)
class StoredEmbeddings:
    """All embeddings of a part.

    Attributes:
      embeddings: float16 [n, dim], of the samples' first images.
      more: float16 [m, dim], of other images of theirs.
      more_of: int64 [m], the sample of each of those, ascending.
    """

    embeddings: np.ndarray
    more: np.ndarray
    more_of: np.ndarray


def read_embeddings(part: str) -> StoredEmbeddings:
    """The embeddings of a part.

    Raises:
      StorageError: when it cannot be read, after retries, or is damaged.
    """
    content = files.read_bytes(part)
    with checked_parquet.told_if_damaged(part):
        file = checked_parquet.opened(content)
        columns = file.read(columns=[EMBEDDING, MORE_EMBEDDINGS])
        embeddings = float16_of(columns[EMBEDDING], _dim_of(file))
        counts = lengths_of(columns[MORE_EMBEDDINGS]) // max(embeddings.shape[1], 1)
        flat = columns[MORE_EMBEDDINGS].combine_chunks().flatten().to_numpy(zero_copy_only=False).astype(np.float16)
        more = flat.reshape(-1, embeddings.shape[1])
    return StoredEmbeddings(embeddings, more, np.repeat(np.arange(len(counts)), counts))


def count_more_embeddings(part: str) -> list[int]:
    """How many embeddings a part has of each sample's other images.

    Raises:
      StorageError: when it cannot be read, after retries.
    """
    found = read_embeddings(part)
    return np.bincount(found.more_of, minlength=len(found.embeddings)).tolist()


def embeddings_of(stored: pa.Table) -> np.ndarray:
    """The embeddings in these rows of what `read_stored` gave: float16 [n, dim]."""
    return float16_of(stored[EMBEDDING], 0)
