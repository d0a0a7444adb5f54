"""Score once, select for ever: one Parquet part per range, with rows, scores and embeddings.

A part says what shaped it, step by step: the range, the encoder, and each scorer. A later run reads it for what it
still wants of it, and leaves the range alone; columns that it lacks are computed from what it has, and kept beside it
(`added_columns`). A part of another range or encoder is scored again and replaced.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
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
    in_dictionaries,
    lists_of,
)
from beam_curator.output.field_store import as_carried, fields_told, write_fields
from beam_curator.output.score_steps import EMBEDDING_STEP, ScoreStep, arranged, without_steps
from beam_curator.samples import Finding, Sample, SampleBatch, ShardError, ShardRange, shard_in
from beam_curator.sources.listing import passed_over_in
from beam_curator.sources.shard_identity import MARK
from beam_curator.sources.tar.extents import EXTENTS
from beam_curator.sources.tar.member_table import HEADERS_CRC32, MEMBERS, member_columns
from beam_curator.storage import files, urls
from beam_curator.storage.retrying import retried

SCORING_VERSION = 8
"""Goes up when the same model and range would give other rows, scores, embeddings or layout than before."""

SCORES_DIRECTORY = "scores"

EMBEDDING = "embedding"

MORE_EMBEDDINGS = "more_embeddings"

STORED = (EMBEDDING, MEMBERS, HEADERS_CRC32, EXTENTS)
"""The columns that copying and verifying need, and selecting does not."""

METADATA = b"beam_curator"
"""The key of the Parquet metadata in which a part says what shaped it, as JSON."""


def range_fingerprint(range: ShardRange, several_images: bool) -> str:
    """SHA-256 of all that shapes a range's rows, as 64 hex digits: the shard with its generation, the range, how it is
    read, and `SCORING_VERSION`.

    Args:
      range: the range.
      several_images: whether any of its samples holds several images; if none does, `Reading.several_images` does not
        count.
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
    """Writes a scored batch as the part of its range; gives it back without bytes and embeddings, and with `part`.

    A part has no verdicts of rules: it is the same whatever is selected. Fields of the samples' metadata are written to
    a file of their own before it (`field_store`).

    Args:
      directory: the output directory.
      batch: the batch, embedded and scored, with its samples.
      steps: the scorers that gave its scores. Columns that a user's own step gave are written as well.

    Raises:
      CurationError: the batch was never embedded, or has lost its samples.
      StorageError: it cannot be written, after retries.
    """
    if batch.embeddings is None:
        raise CurationError("a batch without embeddings cannot be written: put EmbedImages before WriteShards")
    steps = [step.resolved(batch.models) for step in steps]
    if batch.samples is None:
        raise CurationError("a batch without its samples cannot be written: keep `samples`, which need no bytes for it")
    table = _table(batch, batch.samples, batch.embeddings, TEXT_EMBEDDING in (step.name for step in steps))
    described = _description(batch, steps, _has_several_images(table))
    fields = None
    if rows.field_names(batch.rows):
        fields = write_fields(directory, batch, described["range"])
    elif batch.range.reading.carry:  # there are none: the part says so
        fields = batch.fields or FieldsFound()
        described["fields"] = fields_told(batch.range, fields, described["range"])
    table = table.replace_schema_metadata({METADATA: json.dumps(described, sort_keys=True)})
    files.write_bytes(directory, part_name(batch.range), _parquet(table))
    return batch.replace(
        fields=fields,
        samples=None,
        embeddings=None,
        more_embeddings=None,
        more_of=None,
        text_embeddings=None,
        caption_tokens=None,
        part=urls.join(directory, *part_name(batch.range).split("/")),
    )


def _table(
    batch: SampleBatch, samples: Sequence[Sample], embeddings: np.ndarray, has_text_embeddings: bool
) -> pa.Table:
    """Lays out the columns of a part: rows without outcomes and fields, embeddings, and where members stand."""
    table = rows.without_fields(batch.rows).drop_columns(["status", "reason"])
    none = rows.unusable(batch.rows)
    columns = {EMBEDDING: embedding_array(embeddings, none), MORE_EMBEDDINGS: more_embeddings_array(batch)}
    if has_text_embeddings:
        columns[TEXT_EMBEDDING] = text_embedding_array(batch)
    for name, column in {**columns, **member_columns(samples)}.items():
        table = table.append_column(rows.field_of(name, column.type, rows.INTERNAL), column)
    return table


def _description(batch: SampleBatch, steps: Sequence[ScoreStep], several_images: bool) -> dict[str, Any]:
    """Describes a part, as JSON for its metadata: what shaped it, and what was met in its range.

    Args:
      batch: what the part is made of.
      steps: the scorers that gave its scores.
      several_images: whether any of its samples holds several images.
    """
    assert batch.embeddings is not None
    encoder = batch.models.get(EMBEDDING_STEP)
    return {
        "range": range_fingerprint(batch.range, several_images),
        "several_images": several_images,
        "encoder": encoder.as_json if encoder else None,
        "dim": batch.embeddings.shape[1],
        "embeddings": hashlib.sha256(batch.embeddings.astype(np.float16).tobytes()).hexdigest(),
        "scorers": [step.as_json for step in steps],
        "errors": [dataclasses.asdict(error) for error in batch.errors],
        "passed_over": dict(batch.passed_over),
        "findings": [dataclasses.asdict(finding) for finding in batch.findings],
    }


def _has_several_images(table: pa.Table) -> bool:
    return any((count or 0) > 1 for count in table["images"].to_pylist())


def _of_any_policy(range: ShardRange) -> ShardRange:
    """The range with one fixed `Reading.several_images`: where no sample has several images, it does not count."""
    return dataclasses.replace(range, reading=dataclasses.replace(range.reading, several_images="fail"))


def _parquet(table: pa.Table) -> bytes:
    repeating = [*rows.REPEATING, *in_dictionaries([EMBEDDING, MORE_EMBEDDINGS, TEXT_EMBEDDING])]
    return checked_parquet.encoded(table, repeating)


def more_embeddings_array(batch: SampleBatch) -> pa.Array:
    """Makes an Arrow column of the embeddings of samples' further images: a list of all their numbers for each sample,
    one image after the other; null where there is none."""
    of: list[list[np.ndarray]] = [[] for _ in range(len(batch))]
    if batch.more_of is not None and batch.more_embeddings is not None:
        for index, embedding in zip(batch.more_of, batch.more_embeddings, strict=True):
            of[index].append(embedding)
    return lists_of(of)


def text_embedding_array(batch: SampleBatch) -> pa.Array:
    """Makes an Arrow column of the embeddings of a batch's captions; null where there is none.

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
    """The stored rows of a range, with the scores that there are, without embeddings and samples.

    Attributes:
      batch: its rows before any rule, with `part`, and with the `models` of the steps that are stored.
      range: the `range_fingerprint` that its part was made with.
      steps: the scorers whose columns are stored.
    """

    batch: SampleBatch
    range: str
    steps: tuple[ScoreStep, ...]

    @property
    def lacks_fields(self) -> bool:
        """Whether fields of metadata are to be carried, and nobody looked for them yet."""
        return bool(self.batch.range.reading.carry) and self.batch.fields is None

    @property
    def encoder(self) -> ModelIdentity | None:
        """The encoder of its embeddings."""
        return self.batch.models.get(EMBEDDING_STEP)

    def lacking(self, steps: Sequence[ScoreStep]) -> list[ScoreStep]:
        """The steps among these whose columns are not stored."""
        return [step for step in steps if not any(step.gives(known) for known in self.steps)]

    def only(self, steps: Sequence[ScoreStep]) -> StoredRange:
        """The same range with the columns of these steps alone, in this order, as far as they are stored."""
        there = tuple(known for step in steps for known in self.steps if step.gives(known))
        gone = [step for step in self.steps if step not in there]
        table = arranged(without_steps(self.batch.rows, gone), there)
        if gone:
            table = rows.unselected(table, [step.name for step in there])
        models = {name: model for name, model in self.batch.models.items() if name == EMBEDDING_STEP}
        models |= {step.name: step.identity for step in there}
        return StoredRange(self.batch.replace(rows=table, models=models), self.range, there)


def read_part(directory: str, range: ShardRange, encoder: ModelIdentity | None) -> StoredRange | None:
    """Reads a range's part; None if there is none of this range in its present state by this encoder.

    Args:
      directory: the output directory.
      range: the range.
      encoder: the encoder; None to take the part that is there, whichever encoder made it, and of whichever state.

    Raises:
      StorageError: it cannot be read, after retries.
    """
    url = urls.join(directory, *part_name(range).split("/"))
    if not files.exists(url):
        return None
    content = files.read_bytes(url)
    try:
        part = checked_parquet.opened(content)
        described = _described(part.schema_arrow, range, anyhow=encoder is None)
        if described is None or not (encoder is None or (described.encoder and encoder.gives(described.encoder))):
            return None
        columns = [name for name in part.schema_arrow.names if name not in (*STORED, MORE_EMBEDDINGS, TEXT_EMBEDDING)]
        table = part.read(columns=[*columns, HEADERS_CRC32]).replace_schema_metadata(None)
        return _stored(url, range, described, _with_ids(table, range))
    except checked_parquet.NOT_OURS:
        return None  # not a whole part of ours: it is scored again and replaced


def _stored(url: str, range: ShardRange, described: _Described, table: pa.Table) -> StoredRange:
    """What is stored of a range, from what was read of its part. Raises one of `checked_parquet.NOT_OURS` where the
    part is not whole."""
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
    """Tells by its footer which of `rows.OPTIONAL_FACTS` a range's part has; None where `read_part` gives None.

    Raises:
      StorageError: when it cannot be read, after retries.
    """
    url = urls.join(directory, *part_name(range).split("/"))
    if not files.exists(url):
        return None
    try:
        schema = _schema_of(url)
        checked_parquet.check_seal(schema)
        described = _described(schema, range, anyhow=False)
    except StorageError:
        raise
    except checked_parquet.NOT_OURS:
        return None
    if described is None or not (described.encoder and encoder.gives(described.encoder)):
        return None
    if described.before_steps:
        return frozenset()
    return frozenset(name for name in rows.OPTIONAL_FACTS.names if rows.has_fact(schema, name))


@retried
def _schema_of(part: str) -> pa.Schema:
    with files.open_for_reading(part) as file:
        return pq.read_schema(file)


def _passed_over(range: ShardRange, told: Mapping[str, int]) -> Mapping[str, int]:
    """Counts the entries of a range that belong to no sample, by kind. In a folder they are counted anew: a file that
    is no image may come or go without changing any shard, and parts are not made anew for it."""
    if range.shard.listing and (told or range.url.endswith(MARK)):
        return passed_over_in(range.shard.listing, range.start, range.end)
    return told


def _with_ids(table: pa.Table, range: ShardRange) -> pa.Table:
    """The rows with the `sample_id` that their samples have now, and without the column `HEADERS_CRC32`. The ids are
    those of the part if its shard has the same label as then, else they are made anew. Early releases had other ids, in
    a column `uid`."""
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
    """The description that `_description` wrote into a part; `fields` only if its samples have none."""

    range: str
    encoder: ModelIdentity | None
    steps: tuple[ScoreStep, ...]
    errors: Sequence[Mapping[str, Any]]
    passed_over: Mapping[str, int]
    findings: Sequence[Mapping[str, Any]]
    before_steps: bool = False
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def _described(schema: pa.Schema, range: ShardRange, anyhow: bool) -> _Described | None:
    """Reads the description of a part from its schema; None if it is no part of ours, or, unless `anyhow`, if the range
    has another state now."""
    told = json.loads((schema.metadata or {}).get(METADATA, b"{}"))
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
    """Reads the description of a part from its schema, as JSON; a part of an early release, which told models in words,
    has no `scorers`."""
    told = json.loads((schema.metadata or {}).get(METADATA, b"{}"))
    return {"range": None, "scorers": [], "dim": 0, **told}


def is_described(schema: pa.Schema) -> bool:
    """Tells whether a file with this schema is a score part."""
    return METADATA in (schema.metadata or {})
