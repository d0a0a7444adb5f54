"""Curate image training sets at scale on Apache Beam: the public names."""

from beam_curator.checkpoint import Checkpoint, Scoring, WriteScores
from beam_curator.embedding import ClipModelHandler, EmbedImages
from beam_curator.errors import CurationError, JobError, UsageError
from beam_curator.exploding import BatchSamples, ExplodeSamples
from beam_curator.options import CurationOptions
from beam_curator.reading import (
    MatchShards,
    PlanRanges,
    ReadRanges,
    ReadSamples,
    load,
    match_shards,
)
from beam_curator.samples import Member, Reading, Sample, SampleBatch, Shard, ShardError, ShardRange
from beam_curator.scoring import Score, ScoreAesthetic, ScoreNsfw, ScoreRanges
from beam_curator.selection import AspectRatioAtMost, AtLeast, Below, Between, Rule, Select
from beam_curator.writing import WriteShards

__all__ = [
    "AspectRatioAtMost",
    "AtLeast",
    "BatchSamples",
    "Below",
    "Between",
    "Checkpoint",
    "ClipModelHandler",
    "CurationError",
    "CurationOptions",
    "EmbedImages",
    "ExplodeSamples",
    "JobError",
    "MatchShards",
    "Member",
    "PlanRanges",
    "ReadRanges",
    "ReadSamples",
    "Reading",
    "Rule",
    "Sample",
    "SampleBatch",
    "Score",
    "ScoreAesthetic",
    "ScoreNsfw",
    "ScoreRanges",
    "Scoring",
    "Select",
    "Shard",
    "ShardError",
    "ShardRange",
    "UsageError",
    "WriteScores",
    "WriteShards",
    "load",
    "match_shards",
]
