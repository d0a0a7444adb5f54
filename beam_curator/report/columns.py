"""The columns of the ledger that the report shows, told by their roles, and their values as numbers."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from beam_curator import rows

ASPECT_RATIO = "aspect_ratio"
"""The ratio of the longer side to the shorter one: no column of the ledger, but what `--max_aspect_ratio` compares."""

CAPTION_LENGTH = "caption_length"
"""Characters of the caption: no column of the ledger."""

_OF_FEW = ("language", "lang", "license", "licence")
"""Fields of metadata that have few different texts, as crawls and LAION's tables call them."""

NEEDED = ("shard", "offset", "status", "reason")
"""The columns that a file must have to be one of the ledger."""

_PLACES = ("offset", "same_key", "images", "texture")
"""Facts that are numbers, and no measure of an image."""


def is_ledger(schema: pa.Schema) -> bool:
    """Whether a file with this schema holds rows of the ledger."""
    return all(name in schema.names for name in NEEDED)


def numbers_in(schema: pa.Schema) -> dict[str, str]:
    """The measures that rows with this schema have: their names, and the role of each."""
    found = {}
    for field in schema:
        role = rows.role_of(field)
        if role in (rows.FACT, rows.SCORE, rows.CARRIED) and rows.is_number(field.type) and field.name not in _PLACES:
            found[field.name] = role
    if {"width", "height"} <= set(found):
        found[ASPECT_RATIO] = rows.FACT
    if "caption" in schema.names and "caption_characters" not in found:
        found[CAPTION_LENGTH] = rows.FACT
    return found


def categories_in(schema: pa.Schema) -> list[str]:
    """The columns of rows with this schema that may hold few different texts: the format, scores that are text or
    flags, and of carried fields the languages and licences. All others of those would have to be read to know."""
    others = [field for field in schema if not rows.is_number(field.type)]
    scores = [field.name for field in others if rows.role_of(field) == rows.SCORE]
    carried = [field.name for field in others if rows.role_of(field) == rows.CARRIED and _is_of_few(field)]
    return [*(["format"] if "format" in schema.names else []), *scores, *carried]


def _is_of_few(field: pa.Field) -> bool:
    type = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    return pa.types.is_string(type) and field.name.lower().rpartition(".")[2] in _OF_FEW


def behind(name: str) -> tuple[str, ...]:
    """The columns that a measure is computed from."""
    return {ASPECT_RATIO: ("width", "height"), CAPTION_LENGTH: ("caption",)}.get(name, (name,))


def numbers_of(table: pa.Table, name: str) -> NDArray[np.float64]:
    """A measure of n rows: float64 [n], NaN where there is none."""
    if any(column not in table.schema.names for column in behind(name)):
        return np.full(len(table), np.nan)
    if name == ASPECT_RATIO:
        width, height = _plain(table["width"]), _plain(table["height"])
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.maximum(width, height) / np.minimum(width, height)
    if name == CAPTION_LENGTH:
        return _plain(pc.utf8_length(table["caption"]))
    return _plain(table[name])


def _plain(column: pa.ChunkedArray) -> NDArray[np.float64]:
    return column.to_numpy().astype(np.float64)


def identities(table: pa.Table) -> NDArray[np.uint64]:
    """A hash of where each of n samples stands in its shard, wherever that is: uint64 [n]. It decides which images are
    shown."""
    shard = table["shard"].combine_chunks()
    if not pa.types.is_dictionary(shard.type):
        shard = shard.dictionary_encode()
    names = [hashlib.sha256(_name(url).encode()).digest()[:8] for url in shard.dictionary.to_pylist()]
    of_shard = np.frombuffer(b"".join(names), np.uint64)[shard.indices.to_numpy()]
    return _mixed(of_shard ^ table["offset"].to_numpy().astype(np.uint64))


def _name(url: str | None) -> str:
    return (url or "").rpartition("/")[2].encode("utf-8", "replace").decode()


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of SplitMix64."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
