"""Makes the members that curation adds to each sample that it keeps: `KEY.clip.npy` and `KEY.curation.json`."""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_curator import rows
from beam_curator.identities import ModelIdentity, told_models
from beam_curator.output.ledger import INPUT_KEY
from beam_curator.output.score_steps import EMBEDDING_STEP

CURATION_EXTENSION = "curation.json"
_CLIP = "clip.npy"


def embedding_extension(models: Mapping[str, ModelIdentity]) -> str:
    """Names the member of an embedding: `clip.npy` for open_clip's models, another name for another encoder."""
    encoder = models.get(EMBEDDING_STEP)
    return f"{encoder.member}.npy" if encoder is not None and encoder.member else _CLIP


_LEFT_OUT = frozenset({"same_key", "caption"})
"""Facts that a record does not repeat."""

_NAMES = {"key": INPUT_KEY}
"""The names of facts in a record, where they are not those of the ledger."""


@functools.lru_cache(maxsize=1000)
def own_extension(extension: str, embedding: str = _CLIP) -> str:
    """The extension that an input member keeps; one that has a name of ours (the output of an earlier curation) moves
    aside, and what an earlier one moved aside moves on, so that no two meet and nothing is lost.

    Args:
      extension: the member's.
      embedding: `embedding_extension` of the output.
    """
    first = extension
    while first.startswith("input."):
        first = first.removeprefix("input.")
    return f"input.{extension}" if first in (_CLIP, embedding, CURATION_EXTENSION) else extension


def embedding_files(embeddings: np.ndarray) -> np.ndarray:
    """float16 [n, dim] as n .npy files of one array [dim] each: uint8 [n, bytes of a file]."""
    header = np.frombuffer(_array_header(embeddings.shape[1:], embeddings.dtype.str), np.uint8)
    numbers = np.ascontiguousarray(embeddings).view(np.uint8)
    return np.hstack([np.broadcast_to(header, (len(numbers), len(header))), numbers])


@functools.lru_cache
def _array_header(shape: tuple[int, ...], dtype: str) -> bytes:
    """Makes the header of an .npy file, which is the same for all arrays of one shape and dtype."""
    file = io.BytesIO()
    array = np.zeros(shape, dtype)
    np.save(file, array, allow_pickle=False)
    return file.getvalue()[: -array.nbytes]


def curation_record(table: pa.Table, models: Mapping[str, ModelIdentity]) -> dict[str, Any]:
    """Makes the content of `KEY.curation.json` from a sample's one row: where the sample came from, its facts and
    scores, and the models."""
    (row,) = table.to_pylist()
    record: dict[str, Any] = {_NAMES.get(name, name): row[name] for name in _facts(table)}
    record["scores"] = {name: _shortest(row[name], table.schema.field(name).type) for name in rows.score_names(table)}
    record["models"] = told_models(models)
    return record


def curation_files(table: pa.Table, models: Mapping[str, ModelIdentity]) -> pa.StringArray:
    """The `curation_record` of each row of the ledger as JSON in one line, its names sorted.

    They are made a column at a time, in a tenth of the time that one record after the other takes.
    """
    scores = {name: _json_of_scores(table[name]) for name in rows.score_names(table)}
    values = _json_of_facts({_NAMES.get(name, name): table[name].combine_chunks() for name in _facts(table)})
    values["scores"] = _objects(scores, table.num_rows)
    values["models"] = pa.array([_ONE_LINE.encode(told_models(models))] * table.num_rows, pa.string())
    return _objects(values, table.num_rows)


def _facts(table: pa.Table) -> list[str]:
    return [name for name in rows.names_with(table, rows.FACT) if name not in _LEFT_OUT]


def _shortest(score: Any, type: pa.DataType) -> Any:
    """A score as JSON has it: a float32 with the fewest digits that give it back."""
    return float(str(np.float32(score))) if score is not None and pa.types.is_float32(type) else score


_ONE_LINE = json.JSONEncoder(sort_keys=True, ensure_ascii=False)
_A_LINE_EACH = json.JSONEncoder(ensure_ascii=False, separators=("\n", ": "))


def _json_of_facts(columns: Mapping[str, pa.Array]) -> dict[str, pa.StringArray]:
    """Writes each integer or text as JSON, by column; all texts at once, since each call takes a while to start."""
    texts = [name for name, values in columns.items() if pa.types.is_string(values.type)]
    found = {name: values.cast(pa.string()) for name, values in columns.items() if name not in texts}
    if texts:
        together = pa.concat_arrays([columns[name] for name in texts])
        count = len(together) // len(texts)
        written = _json_of_texts(together)
        found |= {name: written.slice(index * count, count) for index, name in enumerate(texts)}
    return {name: values.fill_null("null") for name, values in found.items()}


def _json_of_texts(texts: pa.StringArray) -> pa.StringArray:
    if _escapes_any(texts):
        return _by_json(texts.to_pylist())
    return pc.binary_join_element_wise('"', texts, '"', "")


def _escapes_any(texts: pa.StringArray) -> bool:
    """Tells whether JSON cannot have one of the characters inside of a string as it is; a pattern takes ten times as
    long."""
    _, offsets, content = texts.buffers()
    if content is None:
        return False
    begin, end = np.frombuffer(offsets, np.int32)[[texts.offset, texts.offset + len(texts)]]
    characters = np.frombuffer(content, np.uint8)[begin:end]
    return bool(np.any((characters < ord(" ")) | (characters == ord('"')) | (characters == ord("\\"))))


def _json_of_scores(column: pa.ChunkedArray) -> pa.StringArray:
    """Writes each score as JSON, a float32 with the digits of `_shortest`: Arrow writes most numbers as Python does."""
    scores = column.combine_chunks()
    if not pa.types.is_float32(scores.type):
        return _by_json(scores.to_pylist())
    texts, numbers = scores.cast(pa.string()), scores.to_numpy(zero_copy_only=False)
    size = np.abs(numbers)
    odd = ~((size >= 1e-4) & (size < 1e6) & (numbers != np.trunc(numbers)))  # 1e-05, 2.0, null
    written = _by_json(texts.filter(pa.array(odd)).cast(pa.float64()).to_pylist())
    return pc.replace_with_mask(texts, pa.array(odd), written)


def _by_json(values: list[Any]) -> pa.StringArray:
    """Writes each value as JSON, which has no line break outside of what separates values."""
    return pa.array(_A_LINE_EACH.encode(values)[1:-1].split("\n") if values else [], pa.string())


def _objects(columns: Mapping[str, pa.StringArray], count: int) -> pa.StringArray:
    """Makes `count` objects in JSON from columns of JSON values: each object has a value of every column, under its
    name; names are sorted."""
    if not columns:
        return pa.array(["{}"] * count, pa.string())
    pieces: list[Any] = []
    for name in sorted(columns):
        pieces += (f"{', ' if pieces else '{'}{_ONE_LINE.encode(name)}: ", columns[name])
    return pc.binary_join_element_wise(*pieces, "}", "")
