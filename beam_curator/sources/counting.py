"""Estimates how many samples ranges hold, before anything of them is read but some headers of tars."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from beam_curator.samples import Shard, ShardRange
from beam_curator.sources.tar.compression import decompressed, detect_compression
from beam_curator.sources.tar.grouping import group_samples
from beam_curator.sources.tar.headers import TarBroken, iter_headers
from beam_curator.sources.tar.links import HardLinks
from beam_curator.storage import files
from beam_curator.storage.retrying import retried

SHARDS_LOOKED_AT, SAMPLES_LOOKED_AT = 16, 512
"""So many shards are looked into, for so many samples in all."""


@dataclasses.dataclass(frozen=True)
class Density:
    """The number of bytes of a tar that samples take.

    Attributes:
      samples, bytes: of the samples that were looked at.
      whole: whether these are all samples of all tars.
      tars: in how many tars they are.
    """

    samples: int = 0
    bytes: int = 0
    whole: bool = True
    tars: int = 0

    def samples_in(self, range: ShardRange) -> float:
        """Estimates how many samples a range holds; of formats that have rows it is their number."""
        if range.shard.format:
            return len(range.rows)
        return range.size_bytes * self.samples / self.bytes if self.bytes else 0.0


def density_of(ranges: Sequence[ShardRange]) -> Density:
    """Estimates how many bytes a sample takes, from the headers of the first samples of tars that are spread over the
    input.

    Raises:
      StorageError: when one cannot be read, after retries.
    """
    tars = list(dict.fromkeys(one.shard for one in ranges if not one.shard.format))
    step = -(-len(tars) // SHARDS_LOOKED_AT) or 1
    chosen = tars[::step]
    each = max(1, SAMPLES_LOOKED_AT // max(1, len(chosen)))
    found = Density(whole=len(chosen) == len(tars))
    for shard in chosen:
        one = _density(shard, each)
        of_both = found.samples + one.samples, found.bytes + one.bytes, found.whole and one.whole
        found = Density(*of_both, found.tars + 1)
    return found


@retried
def _density(shard: Shard, most: int) -> Density:
    samples = end = 0
    whole = True
    with (
        files.open_for_reading(shard.path, shard.size_bytes) as file,
        decompressed(file, detect_compression(file)) as tar,
    ):
        try:
            for sample in itertools.islice(group_samples(iter_headers(tar), HardLinks(tar)), most + 1):
                if samples == most:
                    return Density(samples, end, False)
                samples, end = samples + 1, sample.end
        except TarBroken:  # whoever reads the shard tells it
            whole = False
    return Density(samples, end, whole)
