"""The coders of what flows, which Beam uses wherever a PCollection of them leaves a worker; registered on import."""

from __future__ import annotations

from typing import Any

from apache_beam import coders

from beam_curator.samples import SampleBatch, Shard, ShardRange
from beam_curator.transforms import wire_format
from beam_curator.transforms.spilling import Spillable, SpillableCoder, current, fetched, left


class _Coder(coders.Coder):
    """Deterministic: the same element is always the same bytes, so that it may be a key."""

    def is_deterministic(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))


class ShardCoder(_Coder):
    """Encodes a `Shard`."""

    def encode(self, shard: Shard) -> bytes:
        return wire_format.encode_shard(shard)

    def decode(self, encoded: bytes) -> Shard:
        return wire_format.decode_shard(encoded)

    def to_type_hint(self) -> Any:
        return Shard


class ShardRangeCoder(_Coder):
    """Encodes a `ShardRange`."""

    def encode(self, range: ShardRange) -> bytes:
        return wire_format.encode_range(range)

    def decode(self, encoded: bytes) -> ShardRange:
        return wire_format.decode_range(encoded)

    def to_type_hint(self) -> Any:
        return ShardRange


class SampleBatchCoder(_Coder):
    """Encodes a `SampleBatch` without the bytes of its members, which `load` reads again."""

    def __init__(self) -> None:
        self._name = current()

    def encode(self, batch: SampleBatch) -> bytes:
        return left(wire_format.encode_batch(batch), self._name)

    def decode(self, encoded: bytes) -> SampleBatch:
        return wire_format.decode_batch(fetched(encoded))

    def estimate_size(self, batch: SampleBatch) -> int:
        """Estimates a batch's size in bytes; Beam asks for it often, also of batches that stay on their worker."""
        return wire_format.size_of(batch)

    def to_type_hint(self) -> Any:
        return SampleBatch


def register() -> None:
    """Has Beam use them."""
    known = {Shard: ShardCoder, ShardRange: ShardRangeCoder, SampleBatch: SampleBatchCoder, Spillable: SpillableCoder}
    for of, coder in known.items():
        coders.registry.register_coder(of, coder)


register()
