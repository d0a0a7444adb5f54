"""Tells how a job was made: models, flags, versions, and the commands to make it again and to look further."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from beam_curator.identities import ModelIdentity, models_of
from beam_curator.output import parts_before_steps
from beam_curator.output.score_steps import EMBEDDING_STEP

OUT = "OUT"
"""The word that stands for the output directory, whose name is no part of what was made."""

_JOINED = ("duplicates",)
_WORDS = ("keep_best",)
_OF_PYTHON = "rules"


def models_told(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Describes the models that gave embeddings and scores, the encoder first."""
    found = _identities(manifest.get("models") or {})
    return [
        {"step": step, **model.as_json}
        for step, model in sorted(found.items(), key=lambda one: (one[0] != EMBEDDING_STEP, one[0]))
    ]


def _identities(told: Mapping[str, Any]) -> dict[str, ModelIdentity]:
    """Step to model; early releases told models in words."""
    if not any(isinstance(one, str) for one in told.values()):
        return models_of(told)
    wanted = parts_before_steps.wanted_of(told)
    return wanted.models if wanted else {}


def times_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Tells how long the run took that wrote the output: the only figures that another run of the same job would not
    give."""
    timings = manifest.get("timings") or {}
    return {
        "seconds": timings.get("seconds"),
        "phases": list(timings.get("phases") or ()),
        "halvings": timings.get("batch_reductions") or 0,
    }


def untrained_in(manifest: Mapping[str, Any]) -> list[str]:
    """The steps whose numbers mean nothing."""
    return [model["step"] for model in models_told(manifest) if not model["trained"]]


def doubts_about(column: str, manifest: Mapping[str, Any]) -> list[str]:
    """Lists what is to be known of a score wherever it shows: an untrained model, or one made for another encoder."""
    models = {model["step"]: model for model in models_told(manifest)}
    own = models.get(column)
    if own is None:
        return []
    untrained = [step for step in (column, EMBEDDING_STEP) if step in models and not models[step]["trained"]]
    doubts = [f"untrained model ({', '.join(untrained)}): this score means nothing"] if untrained else []
    return [*doubts, *own["notes"]]


def command_of(manifest: Mapping[str, Any]) -> str:
    """The command that makes the same output from the same input; "" for a pipeline of one's own."""
    flags = manifest.get("flags") or {}
    if "clip_model" not in flags or flags.get(_OF_PYTHON):
        return ""
    words = [["beam-curator curate"]]
    for name, value in sorted(flags.items(), key=lambda one: (one[0] != "input", one[0])):
        words += _given(name, value)
    words.append(["--output", OUT])
    return " \\\n  ".join(" ".join(some) for some in words)


def _given(name: str, value: Any) -> list[list[str]]:
    flag = f"--{name}"
    if value in (None, False, [], ()):
        return []
    if value is True:
        return [[flag]]
    if isinstance(value, (list, tuple)):
        if name in _JOINED:
            return [[flag, shlex.quote(",".join(map(str, value)))]]
        return [
            [flag, *(map(shlex.quote, str(one).split()) if name in _WORDS else [shlex.quote(str(one))])]
            for one in value
        ]
    return [[flag, shlex.quote(f"{value:g}" if isinstance(value, float) else str(value))]]


def one_liners(score: str, has_shards: bool) -> list[dict[str, str]]:
    """Commands of other tools that open this output, from inside its directory.

    Args:
      score: a column of numbers, or "".
      has_shards: whether any sample is kept.
    """
    best = f", round(avg({_quoted(score)}), 3) AS mean_{_word(score)}" if score else ""
    found = [
        {
            "tool": "DuckDB",
            "what": "counts by outcome, straight from the ledger",
            "command": f"duckdb -c \"SELECT status, reason, count(*){_escaped(best)} FROM 'samples/*.parquet' "
            'GROUP BY ALL ORDER BY 3 DESC"',
        }
    ]
    if has_shards:
        found += [
            {
                "tool": "embedding-atlas",
                "what": "a map of the kept samples, by the embeddings that are there",
                "command": "beam-curator export embeddings . --output ../vectors --format parquet && "
                "embedding-atlas ../vectors/*.parquet --vector embedding --text caption",
            },
            {
                "tool": "FiftyOne",
                "what": "a look at the kept images, after unpacking a shard",
                "command": "mkdir -p images && tar -xf 00000.tar -C images && "
                "python -c \"import fiftyone as fo; fo.launch_app(fo.Dataset.from_images_dir('images')).wait()\"",
            },
        ]
    return found


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _escaped(sql: str) -> str:
    """SQL as it stands between double quotes of a shell."""
    return "".join(f"\\{one}" if one in '\\"$`' else one for one in sql)


def _word(name: str) -> str:
    return "".join(one if one.isalnum() else "_" for one in name)


def flags_told(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The flags that say something, as text."""
    flags = manifest.get("flags") or {}
    return [(name, _text(value)) for name, value in sorted(flags.items()) if value not in (None, False, [], (), "")]


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_text(one)}" for name, one in sorted(value.items()))
    return ", ".join(map(_text, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
