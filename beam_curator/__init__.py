"""Curate image training sets at scale on Apache Beam: the public names.

Each is imported when it is first used, so that `import beam_curator` costs next to nothing.

The whole job: `curate`.
To compose a pipeline: `MatchShards`, `ReadSamples`, `ClipModelHandler`, `EmbedImages`, `EmbedCaptions`, `Score`,
  `ScoreAesthetic`, `ScoreNsfw`, `ScoreSimilarity`, `Select`, `KeepTop`, `DropDuplicates`, `WriteShards`; between other
  steps `ExplodeSamples`, `BatchSamples`; over vectors of anything `FindDuplicates`, `KeepOne`.
What flows, how it is read, and what goes wrong: `SampleBatch`, `Reading`, `CurationError`.
Rules: `AtLeast`, `Below`, `Between`, `AspectRatioAtMost`, `Where`.
Without Beam, on one batch: `batch_of`, `load`, `embed_batch`, `score_batch`, `select`.
To extend, a model: `Encoder`, `Preparation`, `Scorer`, `Column`, `HeadScorer`, `ModelIdentity`; a format of input:
  `Source`, `Rows`, `Record`, `UnreadableShard`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from beam_curator.commands.calling import curate
    from beam_curator.errors import CurationError
    from beam_curator.identities import ModelIdentity
    from beam_curator.images.preparation import Preparation
    from beam_curator.models.encoders.encoder import Encoder
    from beam_curator.models.scorers.heads import HeadScorer
    from beam_curator.models.scorers.scorer import Column, Scorer
    from beam_curator.reading import Reading
    from beam_curator.rules.column_rules import AspectRatioAtMost, AtLeast, Below, Between
    from beam_curator.rules.selecting import select
    from beam_curator.rules.where import Where
    from beam_curator.samples import SampleBatch
    from beam_curator.sources.hand_made import batch_of
    from beam_curator.sources.records import Record
    from beam_curator.sources.sample_batches import load
    from beam_curator.sources.source import Rows, Source, UnreadableShard
    from beam_curator.transforms.clip_handler import ClipModelHandler
    from beam_curator.transforms.duplicate_pairs import FindDuplicates, KeepOne
    from beam_curator.transforms.duplicates import DropDuplicates
    from beam_curator.transforms.embedding import EmbedImages, embed_batch
    from beam_curator.transforms.exploding import BatchSamples, ExplodeSamples
    from beam_curator.transforms.keep_top import KeepTop
    from beam_curator.transforms.planning import MatchShards
    from beam_curator.transforms.reading import ReadSamples
    from beam_curator.transforms.scoring import (
        EmbedCaptions,
        Score,
        ScoreAesthetic,
        ScoreNsfw,
        ScoreSimilarity,
        score_batch,
    )
    from beam_curator.transforms.selection import Select
    from beam_curator.transforms.writing import WriteShards

_HOMES = {
    "commands.calling": ("curate",),
    "errors": ("CurationError",),
    "identities": ("ModelIdentity",),
    "images.preparation": ("Preparation",),
    "models.encoders.encoder": ("Encoder",),
    "models.scorers.heads": ("HeadScorer",),
    "models.scorers.scorer": (
        "Column",
        "Scorer",
    ),
    "reading": ("Reading",),
    "rules.column_rules": (
        "AspectRatioAtMost",
        "AtLeast",
        "Below",
        "Between",
    ),
    "rules.selecting": ("select",),
    "rules.where": ("Where",),
    "samples": ("SampleBatch",),
    "sources.hand_made": ("batch_of",),
    "sources.records": ("Record",),
    "sources.sample_batches": ("load",),
    "sources.source": (
        "Rows",
        "Source",
        "UnreadableShard",
    ),
    "transforms.clip_handler": ("ClipModelHandler",),
    "transforms.duplicate_pairs": (
        "FindDuplicates",
        "KeepOne",
    ),
    "transforms.duplicates": ("DropDuplicates",),
    "transforms.embedding": (
        "EmbedImages",
        "embed_batch",
    ),
    "transforms.exploding": (
        "BatchSamples",
        "ExplodeSamples",
    ),
    "transforms.keep_top": ("KeepTop",),
    "transforms.planning": ("MatchShards",),
    "transforms.reading": ("ReadSamples",),
    "transforms.scoring": (
        "EmbedCaptions",
        "Score",
        "ScoreAesthetic",
        "ScoreNsfw",
        "ScoreSimilarity",
        "score_batch",
    ),
    "transforms.selection": ("Select",),
    "transforms.writing": ("WriteShards",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AspectRatioAtMost",
    "AtLeast",
    "BatchSamples",
    "Below",
    "Between",
    "ClipModelHandler",
    "Column",
    "CurationError",
    "DropDuplicates",
    "EmbedCaptions",
    "EmbedImages",
    "Encoder",
    "ExplodeSamples",
    "FindDuplicates",
    "HeadScorer",
    "KeepOne",
    "KeepTop",
    "MatchShards",
    "ModelIdentity",
    "Preparation",
    "ReadSamples",
    "Reading",
    "Record",
    "Rows",
    "SampleBatch",
    "Score",
    "ScoreAesthetic",
    "ScoreNsfw",
    "ScoreSimilarity",
    "Scorer",
    "Select",
    "Source",
    "UnreadableShard",
    "Where",
    "WriteShards",
    "batch_of",
    "curate",
    "embed_batch",
    "load",
    "score_batch",
    "select",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
