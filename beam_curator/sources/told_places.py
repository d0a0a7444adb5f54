"""Says in words where a sample stands in its shard."""

from __future__ import annotations

from beam_curator.sources.patterns import SHARD_ENDINGS
from beam_curator.sources.shard_identity import MARK
from beam_curator.sources.table_files import PARQUET_ENDINGS


def told_end(shard: str, offset: int) -> str:
    """Says where a shard that cannot be read to its end stops: ` at byte 512`, ` at row 17`, or "" before the first
    row."""
    if _is_tar(shard):
        return f" at byte {offset:,}"
    return f" at row {offset:,}" if offset else ""


def told_place(shard: str, offset: int) -> str:
    """`at byte 512 of a.tar`, `in row 17 of a.parquet`, or `in photos`, where the key itself says which file it is."""
    if shard.lower().endswith(PARQUET_ENDINGS):
        return f"in row {offset:,} of {shard}"
    if _is_listed(shard):
        return f"in {shard.rpartition(MARK)[0]}"
    return f"at byte {offset:,} of {shard}"


def _is_tar(shard: str) -> bool:
    return not shard.lower().endswith(PARQUET_ENDINGS) and not _is_listed(shard)


def _is_listed(shard: str) -> bool:
    """Tells whether a shard is some files of a folder or a list."""
    return MARK in shard and not shard.lower().endswith(SHARD_ENDINGS)
