"""Places each kept sample: pure arithmetic on counts, so that the output is the same for every bundling.

Kept samples are ordered by (shard url, offset); the n-th of them is at place n; place // samples_per_shard is its
output shard.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from beam_curator import rows
from beam_curator.errors import CurationError
from beam_curator.identities import ModelIdentity
from beam_curator.output import ledger
from beam_curator.output.field_store import CarriedFields
from beam_curator.samples import SampleBatch, ShardRange


@dataclasses.dataclass(frozen=True)
class PlacedSamples:
    """A run of kept samples of one range, on its way to an output shard: rows and references, no bytes.

    Attributes:
      position: index of the run's first sample in the output shard.
      range: the range of the samples.
      part: url of the score part that holds their embeddings and the places of their members.
      part_rows: int64 [n], the indices of their rows in the part.
      spans: int64 [n, 2], offset and length of each sample in the uncompressed tar.
      rows: the n rows of the ledger.
      models: identities of the models, as `SampleBatch.models`.
      fields: the fields of their metadata that are carried, and the directory that holds them.
    """

    position: int
    range: ShardRange
    part: str
    part_rows: np.ndarray
    spans: np.ndarray
    rows: pa.Table
    models: Mapping[str, ModelIdentity]
    fields: CarriedFields = dataclasses.field(default_factory=CarriedFields)


def place_samples(
    batch: SampleBatch, first_place: int, samples_per_shard: int
) -> tuple[pa.Table, list[tuple[int, PlacedSamples]]]:
    """A batch's ledger rows, and its kept samples as (output shard, run) pairs."""
    if batch.part is None:
        raise CurationError("a batch without a score part cannot be placed: write its scores first")
    kept = np.flatnonzero(rows.status_is(batch.rows, rows.KEPT))
    runs = list(slices(first_place, len(kept), samples_per_shard))
    tars: list[str | None] = [None] * len(batch)
    keys: list[str | None] = [None] * len(batch)
    for run in runs:
        for index, row in enumerate(kept[run.first : run.first + run.samples]):
            tars[row] = f"{shard_name(run.output_index)}.tar"
            keys[row] = output_key(run.output_index, run.position + index, samples_per_shard)
    table = ledger.ledger_table(batch.rows, pa.array(tars, pa.string()), pa.array(keys, pa.string()))
    offsets, sizes = batch.rows["offset"].to_numpy(), batch.rows["span_bytes"].to_numpy()
    placed = []
    for run in runs:
        taken = kept[run.first : run.first + run.samples]
        spans = np.stack([offsets[taken], sizes[taken]], axis=1)
        samples = PlacedSamples(
            run.position, batch.range, batch.part, taken, spans, table.take(taken), dict(batch.models)
        )
        placed.append((run.output_index, samples))
    return table, placed


class Slice(NamedTuple):
    """A run of a range's kept samples that goes to one output shard.

    Attributes:
      output_index: which output shard.
      position: the place in it of the run's first sample.
      first: the run's first sample, counted among the range's kept ones.
      samples: how many.
    """

    output_index: int
    position: int
    first: int
    samples: int


def slices(first_place: int, count: int, samples_per_shard: int) -> Iterator[Slice]:
    """Cuts a range's kept samples, whose first is at `first_place`, into slices, each of one output shard."""
    first = 0
    while first < count:
        output_index, position = divmod(first_place + first, samples_per_shard)
        taken = min(count - first, samples_per_shard - position)
        yield Slice(output_index, position, first, samples=taken)
        first += taken


def shard_name(output_index: int) -> str:
    """An output shard's name without its extension: five digits, as img2dataset has it."""
    return f"{output_index:05d}"


def output_key(output_index: int, position: int, samples_per_shard: int) -> str:
    """A kept sample's key in the output: shard and position, as img2dataset has it, unique in the whole output."""
    digits = max(4, len(str(samples_per_shard - 1)))
    return f"{output_index:05d}{position:0{digits}d}"
