"""Score parts and job.json of releases before steps were told apart: their embeddings and scores are as good as ever.

They had one fingerprint for all models of a part, and told a model in words: `ViT-L-14, weights ViT-L-14/openai
sha256:..., precision fp32`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from beam_curator import rows
from beam_curator.identities import ModelIdentity
from beam_curator.models.heads.made_for import UNKNOWN_ORIGIN
from beam_curator.models.scorers.scorer import Column
from beam_curator.output.score_steps import ScoreStep, Wanted
from beam_curator.samples import ShardRange

SCORING_VERSION = 7
"""The version of the last release whose parts were so."""

_ENCODER, _NSFW = "clip", "nsfw"
_ENCODER_TEXT = re.compile(
    r"(?P<model>[^,(]+?)(?:, (?P<kind>weights|checkpoint) (?P<name>.+?) sha256:(?P<sha256>[0-9a-f]{64}))?"
    r"(?P<untrained> \(untrained.*?\))?, precision (?P<precision>\w+)(?P<options>(?:, .+)?)"
)
_HEAD_TEXT = re.compile(
    r"(?P<name>.+?)(?: sha256:(?P<sha256>[0-9a-f]{64}))?(?P<untrained> \(scores mean nothing\))?"
    r"(?:, (?P<note>(?:made for|run on) .+))?"
)


def is_whole(described: Mapping[str, Any], range: ShardRange) -> bool:
    """Tells whether a part is what its fingerprint says: of this range as it is now."""
    shaped_by = {"scoring_version": SCORING_VERSION, "range": range.identity, "models": described["models"]}
    expected = hashlib.sha256(json.dumps(shaped_by, sort_keys=True).encode()).hexdigest()
    return described.get("fingerprint") == expected


def wanted_of(models: Mapping[str, str]) -> Wanted | None:
    """Translates models in words into what a job wants; None where they name no encoder that is known."""
    encoder = encoder_of(models.get(_ENCODER, ""))
    if encoder is None:
        return None
    heads = {name: head_of(text) for name, text in models.items() if name != _ENCODER}
    steps = [
        ScoreStep(name, identity, "embedding", (Column(name, worse="higher" if name == _NSFW else "lower"),))
        for name, identity in heads.items()
    ]
    return Wanted(encoder, tuple(steps))


def encoder_of(text: str) -> ModelIdentity | None:
    """An encoder that is told in words."""
    found = _ENCODER_TEXT.fullmatch(text)
    if found is None:
        return None
    notes = tuple(option for option in found["options"].split(", ") if option)
    if found["kind"] == "checkpoint":
        notes = (UNKNOWN_ORIGIN, *notes)
    trained, name = not found["untrained"], found["name"] or found["model"]
    return ModelIdentity(name, found["sha256"], trained, notes, found["precision"], "clip")


def head_of(text: str) -> ModelIdentity:
    """A head that is told in words."""
    found = _HEAD_TEXT.fullmatch(text)
    if found is None:
        return ModelIdentity(text)
    notes = (found["note"],) if found["note"] else ()
    return ModelIdentity(found["name"], found["sha256"], not found["untrained"], notes)


def rows_of(table: pa.Table) -> pa.Table:
    """The rows of such a part with the columns that rows have now: what failed had its reason in `reason` alone."""
    status, reason = table["status"].to_pylist(), table["reason"].to_pylist()
    failure = [why if what == rows.FAILED else None for what, why in zip(status, reason, strict=True)]
    columns = {name: table[name] for name in table.schema.names} | {"failure": pa.array(failure, pa.string())}
    fields = [*rows.SCHEMA, *(rows.field_of(f.name, f.type, rows.SCORE) for f in table.schema if f.name not in _FACTS)]
    return pa.table([columns[field.name] for field in fields], schema=pa.schema(fields))


_FACTS = frozenset(rows.SCHEMA.names)


def job_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """Translates a job.json that named `models` in words into what job.json holds now."""
    wanted = wanted_of(content["models"])
    others = {name: value for name, value in content.items() if name != "models"}
    if wanted is None:
        return {**others, "encoder": None, "scorers": ()}
    return {**others, "encoder": wanted.encoder, "scorers": wanted.steps}
