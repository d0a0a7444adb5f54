"""Where a sample stands in its shard, in words."""

from __future__ import annotations

from beam_curator.sources.patterns import SHARD_ENDINGS
from beam_curator.sources.shard_identity import MARK
from beam_curator.sources.table_files import PARQUET_ENDINGS


def told_place(shard: str, offset: int) -> str:
    """`at byte 512 of a.tar`, `in row 17 of a.parquet`, or `in photos`, where the key itself says which file it is."""
    lower = shard.lower()
    if lower.endswith(PARQUET_ENDINGS):
        return f"in row {offset:,} of {shard}"
    if MARK in shard and not lower.endswith(SHARD_ENDINGS):
        return f"in {shard.rpartition(MARK)[0]}"
    return f"at byte {offset:,} of {shard}"
