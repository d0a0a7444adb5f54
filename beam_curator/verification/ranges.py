"""One range: the samples of the input, read again, against their ledger rows and their score part."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from beam_curator import rows
from beam_curator.errors import first_line
from beam_curator.identities import ModelIdentity
from beam_curator.models.scorers.scorer import TEXT_EMBEDDING
from beam_curator.output.added_columns import completed, read_text_embeddings
from beam_curator.output.field_store import in_types, with_hashes
from beam_curator.output.outcomes import Summary, summarize
from beam_curator.output.part_contents import count_more_embeddings, embeddings_of, read_stored
from beam_curator.output.score_parts import part_name, read_part
from beam_curator.reading import Reading
from beam_curator.samples import Sample, SampleBatch, ShardRange
from beam_curator.sources.fields import fields_of
from beam_curator.sources.ranges import read_range
from beam_curator.sources.sample_batches import rows_of
from beam_curator.sources.sample_images import dotted_names, images_of
from beam_curator.verification.differences import Difference, match_rows, shown, unequal, unequal_columns
from beam_curator.verification.finished import FinishedJob
from beam_curator.verification.recorded import UNREADABLE, RecordedIn

_FROM_THE_TAR = ("shard", "key", "offset", "same_key", "image", "images", "caption")


@dataclasses.dataclass(frozen=True)
class KeptSample:
    """A kept sample: what the input holds of it, and what is recorded.

    Attributes:
      sample: with its bytes.
      row: its ledger row.
      table: the same, as a table of one row.
      embedding: float16 [dim], from the score part; None if that has none.
      models: what gave the scores.
    """

    sample: Sample
    row: Mapping[str, Any]
    table: pa.Table
    embedding: np.ndarray | None
    models: Mapping[str, ModelIdentity]


@dataclasses.dataclass(frozen=True)
class CheckedRange:
    """A range that was checked.

    Attributes:
      samples: how many the input holds.
      kept: the kept ones, in their order.
      summary: what the ledger counts.
      models: what gave its scores.
    """

    samples: int = 0
    kept: Sequence[KeptSample] = ()
    summary: Summary = dataclasses.field(default_factory=Summary)
    models: Mapping[str, ModelIdentity] = dataclasses.field(default_factory=dict)


def check_range(
    finished: FinishedJob, range: ShardRange, recorded_in: RecordedIn
) -> Generator[Difference, None, CheckedRange]:
    """Checks one range but for its output: yields what is not as promised, returns what the output is checked with."""
    try:
        content = read_range(range)
    except UNREADABLE as error:
        yield Difference(range.url, f"cannot be read: {first_line(error)}")
        return CheckedRange()
    samples, errors = content.samples, content.errors
    expected = rows_of(range, samples)
    fields, met = fields_of(range, samples)
    findings = [*content.findings, *dotted_names(range, samples)]
    name = recorded_in.file
    recorded = yield from recorded_in.rows()
    if recorded is None:
        return CheckedRange(len(samples))
    pairs = yield from _pairs(name, recorded, expected)
    indices, places = (pa.array(ones, pa.int64()) for ones in (zip(*pairs, strict=True) if pairs else ((), ())))
    taken = recorded.take(places)
    here = [samples[index] for index, _ in pairs]
    yield from _against_input(name, taken, expected.take(indices), here, range.reading)
    yield from _fields(finished, name, taken, fields.take(indices) if fields.schema.names else fields)
    yield from _outcomes(name, taken)
    part, embeddings = yield from _against_part(finished, range, expected, pairs, (name, taken))
    models = part.models if part else {}
    batch = SampleBatch(
        range,
        recorded,
        models=models,
        errors=tuple(errors),
        passed_over=content.passed_over,
        findings=tuple(findings),
        fields=with_hashes(met, rows.with_fields(recorded, fields)) if len(recorded) == len(samples) else met,
    )
    return CheckedRange(len(samples), _kept(here, taken, embeddings, models), summarize(batch), models)


def _kept(
    samples: Sequence[Sample], recorded: pa.Table, embeddings: np.ndarray | None, models: Mapping[str, ModelIdentity]
) -> list[KeptSample]:
    """Picks the kept ones of n samples, by their n ledger rows.

    Args:
      samples: n samples of a range.
      recorded: their ledger rows.
      embeddings: float16 [n, dim], from the score part; None if that has none.
      models: what gave the scores.
    """
    return [
        KeptSample(sample, row, recorded.slice(index, 1), None if embeddings is None else embeddings[index], models)
        for index, (sample, row) in enumerate(zip(samples, recorded.to_pylist(), strict=True))
        if row["status"] == rows.KEPT
    ]


def _pairs(name: str, found: pa.Table, expected: pa.Table) -> Generator[Difference, None, list[tuple[int, int]]]:
    """Matches rows; yields what does not match, returns pairs of (index in `expected`, index in `found`)."""
    pairs = []
    for one in match_rows(name, found, expected):
        if isinstance(one, Difference):
            yield one
        else:
            pairs.append(one)
    return pairs


def _against_input(
    name: str, found: pa.Table, expected: pa.Table, samples: Sequence[Sample], reading: Reading
) -> Iterator[Difference]:
    """Compares ledger rows with the samples that the input holds, and with the bytes of their images."""
    yield from unequal_columns(name, found, expected, _FROM_THE_TAR)
    for row, sample in zip(found.to_pylist(), samples, strict=True):
        images = images_of(sample, reading)
        if images.failure is not None:
            yield from unequal(name, f"outcome of {shown(row['key'])}", _outcome(row), [rows.FAILED, images.failure])
        data = images.chosen[0].data if images.chosen else None
        sha256 = None if data is None else hashlib.sha256(data).hexdigest()
        yield from unequal(name, f"bytes of {shown(row['key'])}", row["bytes"], None if data is None else len(data))
        yield from unequal(name, f"sha256 of {shown(row['key'])}", row["sha256"], sha256)


def _fields(finished: FinishedJob, name: str, found: pa.Table, expected: pa.Table) -> Iterator[Difference]:
    """Compares the fields in ledger rows with those of the samples' metadata, column by column of the manifest."""
    types = finished.field_types
    there = rows.field_names(found)
    if there != list(types):
        yield Difference(name, f"has columns {shown(there)} of the samples' fields, should have {shown(list(types))}")
        return
    due = in_types(expected, types, len(found))
    wrong = [column for column in types if found.schema.field(column).type != due.schema.field(column).type]
    if wrong:
        yield Difference(name, f"has the column {wrong[0]} in another type than the manifest says")
        return
    yield from unequal_columns(name, found, due, there)


def _outcome(row: Mapping[str, Any]) -> list[Any]:
    return [row["status"], row["reason"]]


def _outcomes(name: str, table: pa.Table) -> Iterator[Difference]:
    """Checks that each row is kept and has a place, or is dropped or failed and has a reason."""
    for row in table.select(["key", "status", "reason", "output_shard", "output_key"]).to_pylist():
        placed = row["output_shard"] is not None and row["output_key"] is not None
        unplaced = row["output_shard"] is None and row["output_key"] is None
        if row["status"] == rows.KEPT:
            fine = placed and row["reason"] is None
        else:
            fine = row["status"] in (rows.DROPPED, rows.FAILED) and unplaced and bool(row["reason"])
        if not fine:
            yield Difference(
                name,
                f"{shown(row['key'])} is {row['status']} for {shown(row['reason'])} and in {row['output_shard']}: kept "
                "samples have a place, dropped and failed ones a reason",
            )


def _against_part(
    finished: FinishedJob,
    range: ShardRange,
    expected: pa.Table,
    pairs: Sequence[tuple[int, int]],
    in_ledger: tuple[str, pa.Table],
) -> Generator[Difference, None, tuple[SampleBatch | None, np.ndarray | None]]:
    """Compares n ledger rows with the score part of their range, and checks the part.

    Args:
      finished: the job.
      range: the range.
      expected: rows of all samples of the range, made from the input.
      pairs: the n samples that the ledger has, as (index in `expected`, index in the ledger).
      in_ledger: the name of the ledger's file, and the n rows.

    Returns:
      The part, None if there is none to read; and the embeddings of the n rows, float16 [n, dim], None if it has none.
    """
    name, (recorded_in, recorded) = part_name(range), in_ledger
    try:
        stored = read_part(finished.scores, range, None)
        stored = completed(finished.scores, stored, finished.job.scorers) if stored is not None else None
        part = stored.batch if stored is not None else None
        embeddings = embeddings_of(read_stored(part.part)) if part is not None and part.part else None
    except UNREADABLE as error:
        yield Difference(name, f"cannot be read: {first_line(error)}")
        return None, None
    if stored is None or part is None or embeddings is None:
        yield Difference(name, "is not there, or not a whole score part")
        return None, None
    lacking = stored.lacking(finished.job.scorers)
    if lacking:
        yield Difference(name, f"has no scores of {lacking[0].name} ({lacking[0].identity}), nor are they beside it")
        return part, embeddings
    yield from _captions_embedded(name, finished, range, part)
    in_part = dict((yield from _pairs(name, part.rows, expected)))
    if len(in_part) < expected.num_rows:
        return part, None
    order = np.array([in_part[index] for index, _ in pairs], np.int64)
    scored = part.rows.take(order)
    has_columns = yield from _against_columns(name, scored, recorded_in, recorded)
    if has_columns and range.reading.several_images == "all" and part.part:
        yield from _all_images_embedded(name, scored, np.array(count_more_embeddings(part.part), np.int64)[order])
    return part, embeddings[order]


def _against_columns(
    name: str, scored: pa.Table, recorded_in: str, recorded: pa.Table
) -> Generator[Difference, None, bool]:
    """Compares facts, scores and failures of ledger rows with those of the score part `name`; returns whether the
    ledger has all columns of the part."""
    facts = rows.names_with(scored, rows.FACT, rows.SCORE)
    absent = [field for field in facts if field not in recorded.schema.names]
    if absent:
        yield Difference(recorded_in, f"has no column {absent[0]}, which {name} has")
        return False
    for fact in rows.OPTIONAL_FACTS.names:
        if rows.has_fact(recorded.schema, fact) and fact not in facts:
            yield Difference(recorded_in, f"has a column {fact}, which {name} has not")
    yield from unequal_columns(recorded_in, recorded, scored, facts)
    yield from _failed_stay_failed(recorded_in, recorded, scored)
    return True


def _captions_embedded(name: str, finished: FinishedJob, range: ShardRange, part: SampleBatch) -> Iterator[Difference]:
    """Checks that, where embeddings of captions are kept, each sample that can be used has one if it has a caption."""
    model = next((step.identity for step in finished.job.scorers if step.name == TEXT_EMBEDDING), None)
    if model is None:
        return
    try:
        found = read_text_embeddings(finished.scores, range.name, model)
    except UNREADABLE as error:
        yield Difference(name, f"text embeddings cannot be read: {first_line(error)}")
        return
    has_caption = np.array([bool(caption) for caption in part.rows["caption"].to_pylist()], bool)
    failures = rows.failure_column(TEXT_EMBEDDING)
    failed = ~np.asarray(part.rows[failures].is_null()) if failures in part.rows.schema.names else False
    due = has_caption & ~rows.unusable(part.rows) & ~np.asarray(failed)
    there = np.zeros(len(part), bool) if found is None else found[0].any(axis=1)
    for index in np.flatnonzero(due != there)[:1].tolist():
        what = "is not embedded" if due[index] else "is embedded, and it has none, or cannot be used"
        yield Difference(name, f"the caption of {shown(part.rows['key'][index].as_py())} {what}")


def _all_images_embedded(name: str, scored: pa.Table, more: np.ndarray) -> Iterator[Difference]:
    """Checks that all images of each sample that did not fail have embeddings: `more`, int64 [n], counts all but the
    first."""
    facts = scored.select(["key", "status", "images"]).to_pylist()
    for row, count in zip(facts, more.tolist(), strict=True):
        if row["status"] != rows.FAILED and count != row["images"] - 1:
            yield Difference(name, f"{count + 1} images of {shown(row['key'])} are embedded, should be {row['images']}")


def _failed_stay_failed(name: str, recorded: pa.Table, scored: pa.Table) -> Iterator[Difference]:
    """Checks that a sample that could not be scored is failed in the ledger, for the same reason."""
    failed = np.flatnonzero(rows.status_is(scored, rows.FAILED))
    yield from unequal_columns(name, recorded.take(failed), scored.take(failed), ("status", "reason"))
