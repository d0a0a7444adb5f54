"""Batches as they are after scoring, for tests of what comes after it."""

import random

import numpy as np

from beam_curator import rows
from beam_curator.identities import ModelIdentity
from beam_curator.models.scorers.scorer import Column
from beam_curator.output.score_parts import write_part
from beam_curator.output.score_steps import EMBEDDING_STEP, ScoreStep
from beam_curator.sources.sample_batches import read_batch
from beam_curator.sources.tar.planning import plan_ranges
from tests.tars import write_shard

ENCODER = ModelIdentity("tiny", "aa", precision="fp32")
AESTHETIC = ScoreStep("aesthetic", ModelIdentity("v2", "bb"), "embedding", (Column("aesthetic"),))
MODELS = {EMBEDDING_STEP: ENCODER, "aesthetic": AESTHETIC.identity}
NOISE = random.Random(5)
MEMBERS = [
    (f"dir/{key}.{extension}", NOISE.randbytes(size))
    for key in ("a", "café", "c", "d", "e")
    for extension, size in (("jpg", 1500), ("txt", 20), ("seg.png", 0), ("J\udcffP", 513), ("x" * 120, 7))
]


def scored_batches(directory, data, range_bytes=4000, output="scored"):
    """The batches of a shard as they are after scoring, with parts written; what a sample gets is its own."""
    batches = []
    for one in plan_ranges(write_shard(directory / "in.tar", data), range_bytes):
        batch = read_batch(one)
        table = rows.with_column(batch.rows, "bytes", [len(s.members["jpg"].data) for s in batch.samples])
        table = rows.with_score(table, "aesthetic", 4.1 + np.array([s.offset for s in batch.samples]) / 7000)
        embeddings = np.array([np.random.default_rng(s.offset).normal(size=6) for s in batch.samples], np.float16)
        scored = batch.replace(rows=table, embeddings=embeddings.reshape(-1, 6), models=MODELS)
        batches.append(write_part(str(directory / output), scored, [AESTHETIC]))
    return batches
