"""Shards that a job.json names, and files of its name that other programs wrote."""

from beam_curator.sources.shard_identity import KnownShard

SHARDS = [
    KnownShard('é"a.tar', 5, "g\n", "p", path="elsewhere", label="a"),
    KnownShard("b", 6, "", "q", matched=False, format="parquet", listing="left out"),
]

STRANGE = ['{"name": "x"}', "[1, 2]", '"x"', "3", "null", '{"models": 3}', "{", "\0"]
