"""Samples whose caption occurs too often in the whole input are dropped (--max_caption_repeats).

Captions are counted by 16 bytes of each in 64 buckets, so that no worker has all of them in memory; what comes back to
a batch are the indices of its rows whose caption occurs more than once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import apache_beam as beam
import numpy as np

from beam_curator.rule_tally import sum_tallies
from beam_curator.rules.caption_repeats import CaptionRepeats, caption_ids, counts_of, drop_repeated
from beam_curator.rules.lists import in_buckets
from beam_curator.samples import SampleBatch
from beam_curator.transforms.beams_own import gathered, inner_steps_untyped
from beam_curator.transforms.spilling import Spillable

_BUCKETS = 64

OfRange = tuple[str, np.ndarray, np.ndarray]
"""The name of a range, indices of its rows (int64 [m]), and the ids of their captions (S16 [m])."""

Repeats = tuple[str, Spillable]
"""The name of a range, and in a `Spillable` the indices of rows whose caption occurs more than once, and how often
each does: twice uint32 [m]."""


def _captions(batch: SampleBatch) -> Iterator[tuple[int, Spillable]]:
    indices, ids = caption_ids(batch.rows)
    for bucket, chosen in in_buckets(ids, _BUCKETS):
        yield bucket, Spillable((batch.range.name, indices[chosen], ids[chosen]))


def _repeated(of_bucket: tuple[int, Iterable[Spillable]]) -> Iterator[Repeats]:
    """The rows whose caption occurs more than once, by range; a caption that is not among these occurs once."""
    ranges: list[OfRange] = [one.value for one in of_bucket[1]]
    for (name, indices, _), counts in zip(ranges, counts_of([ids for *_, ids in ranges]), strict=True):
        again = counts > 1
        if again.any():
            yield name, Spillable((indices[again].astype(np.uint32), counts[again].astype(np.uint32)))


def _drop(batch: SampleBatch, rule: CaptionRepeats, found: Mapping[str, Iterable[Spillable]]) -> SampleBatch:
    nothing = np.empty(0, np.int64)
    pieces = [(nothing, nothing), *(one.value for one in found[batch.range.name])]
    indices, counts = (np.concatenate([one[part] for one in pieces]) for part in (0, 1))
    kept, tallies = drop_repeated(batch.rows, rule, indices.astype(np.int64), counts.astype(np.int64))
    return batch.replace(rows=kept, judged=sum_tallies((batch.judged, tallies)))


def drop_repeated_captions(batches: Sequence[SampleBatch], rule: CaptionRepeats) -> list[SampleBatch]:
    """Does to all batches of a job what `repeats_in` and `without_repeats` do, without Beam."""
    captions = [caption_ids(batch.rows) for batch in batches]
    whole = [Spillable((batch.range.name, *of_batch)) for batch, of_batch in zip(batches, captions, strict=True)]
    found = gathered(_repeated((0, whole)))
    return [_drop(batch, rule, found) for batch in batches]


def repeats_in(batches: beam.PCollection[SampleBatch]) -> beam.PCollection[Repeats]:
    """The captions that occur more than once in all batches together."""
    captions = batches | "Captions" >> beam.FlatMap(_captions).with_output_types(tuple[int, Spillable])
    with inner_steps_untyped(batches.pipeline):
        together = captions | "Gather" >> beam.GroupByKey()
        return together | "Count" >> beam.FlatMap(_repeated).with_output_types(Repeats)


def without_repeats(
    batches: beam.PCollection[SampleBatch], rule: CaptionRepeats, found: beam.PCollection[Repeats]
) -> beam.PCollection[SampleBatch]:
    """The batches with a column `caption_repeats`, and with those samples dropped whose caption occurs too often.

    Args:
      batches: selected. Of captions only null or not null matters here (see `rules.waiting`).
      rule: how often is too often.
      found: what `repeats_in` gave of the same batches.
    """
    dropping = beam.Map(_drop, rule, beam.pvalue.AsMultiMap(found)).with_output_types(SampleBatch)
    return batches | "Drop" >> dropping
