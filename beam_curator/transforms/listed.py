"""Samples are kept or dropped by lists (--allow, --block), which may have any length.

Lists and samples are joined by 16 bytes of each value, in buckets of about a million entries, so that no worker has a
whole list in memory; what comes back to a batch are the indices of its rows that are listed.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

import apache_beam as beam
import numpy as np

from beam_curator.errors import JobError, StorageError
from beam_curator.rule_tally import sum_tallies
from beam_curator.rules.lists import ListFile, apply_lists, candidates, ids_of, in_buckets
from beam_curator.samples import SampleBatch
from beam_curator.sources.list_files import entries_of
from beam_curator.transforms.beams_own import inner_steps_untyped
from beam_curator.transforms.spilling import Spillable

Bucket = tuple[int, int]
"""The place of a list among all lists, and the number of one of its buckets."""


@dataclasses.dataclass(frozen=True)
class Found:
    """The rows of a range that are in a list.

    Attributes:
      place: the place of the list among all lists.
      rows: int64 [m], the indices of the rows.
    """

    place: int
    rows: np.ndarray


def _ids(one: ListFile) -> Iterator[np.ndarray]:
    """The ids of a list's entries, S16 [n], many at a time."""
    try:
        yield from map(ids_of, entries_of(one))
    except (StorageError, OSError, ValueError) as error:  # Arrow's are ValueErrors
        raise JobError(f"{one.path}: cannot be read: {str(error).splitlines()[0]}") from error


def _entries(place: int, lists: Sequence[ListFile]) -> Iterator[tuple[Bucket, Spillable]]:
    for ids in _ids(lists[place]):
        for bucket, chosen in in_buckets(ids, lists[place].buckets):
            yield (place, bucket), Spillable(ids[chosen])


OfRange = tuple[str, np.ndarray, np.ndarray]
"""The name of a range, indices of its rows (int64 [m]), and the ids of their values (S16 [m])."""


def _samples(batch: SampleBatch, lists: Sequence[ListFile]) -> Iterator[tuple[Bucket, Spillable]]:
    for place, one in enumerate(lists):
        indices, ids = candidates(batch.rows, one)
        for bucket, chosen in in_buckets(ids, one.buckets):
            yield (place, bucket), Spillable((batch.range.name, indices[chosen], ids[chosen]))


def _matched(joined: tuple[Bucket, Mapping[str, Iterable[Spillable]]]) -> Iterator[tuple[str, Found]]:
    (place, _), found = joined
    entries = [one.value for one in found["entries"]]
    if not entries:
        return
    listed = np.concatenate(entries)
    ranges: list[OfRange] = [one.value for one in found["samples"]]
    if not ranges:
        return
    is_in = np.isin(np.concatenate([ids for _, _, ids in ranges]), listed)
    start = 0
    for name, indices, ids in ranges:
        mine = indices[is_in[start : start + len(ids)]]
        start += len(ids)
        if len(mine):
            yield name, Found(place, mine)


def _apply(batch: SampleBatch, lists: Sequence[ListFile], found: Mapping[str, Iterable[Found]]) -> SampleBatch:
    by_place: dict[int, np.ndarray] = {}
    for one in found[batch.range.name]:
        by_place[one.place] = np.concatenate([by_place.get(one.place, np.empty(0, np.int64)), one.rows])
    kept, tallies = apply_lists(batch.rows, lists, by_place)
    return batch.replace(rows=kept, judged=sum_tallies((batch.judged, tallies)))


def keep_listed(batches: Sequence[SampleBatch], lists: Sequence[ListFile]) -> list[SampleBatch]:
    """Does to all batches of a job what `without_listed` and `found_in_lists` do, without Beam; no list is in memory
    whole.

    Raises:
      JobError: a list cannot be read.
    """
    found = collections.defaultdict[str, list[Found]](list)
    for place, one in enumerate(lists):
        of_batches = [candidates(batch.rows, one) for batch in batches]
        are_in = _are_in([ids for _, ids in of_batches], one)
        for batch, (indices, _), is_in in zip(batches, of_batches, are_in, strict=True):
            found[batch.range.name].append(Found(place, indices[is_in]))
    return [_apply(batch, lists, found) for batch in batches]


def _are_in(ids: Sequence[np.ndarray], one: ListFile) -> list[np.ndarray]:
    """Looks ids up in a list: for each array of S16 [n] returns bool [n], true where an id is listed."""
    if not ids:
        return []
    values, places = np.unique(np.concatenate(ids), return_inverse=True)
    is_in = np.zeros(len(values), bool)
    for listed in _ids(one):
        near = np.searchsorted(values, listed)
        there = near < len(values)
        near, listed = near[there], listed[there]
        is_in[near[values[near] == listed]] = True
    return np.split(is_in[places.ravel()], np.cumsum([len(some) for some in ids])[:-1])


def found_in_lists(
    batches: beam.PCollection[SampleBatch], lists: Sequence[ListFile]
) -> beam.PCollection[tuple[str, Found]]:
    """The samples that are kept so far and that are in a list, by the name of their range."""
    places = batches.pipeline | "Lists" >> beam.Create([*range(len(lists))]).with_output_types(int)
    entries = places | "Entries" >> beam.FlatMap(_entries, lists).with_output_types(tuple[Bucket, Spillable])
    samples = batches | "Samples" >> beam.FlatMap(_samples, lists).with_output_types(tuple[Bucket, Spillable])
    with inner_steps_untyped(batches.pipeline):
        joined = {"entries": entries, "samples": samples} | "Join" >> beam.CoGroupByKey()
        return joined | "Match" >> beam.FlatMap(_matched).with_output_types(tuple[str, Found])


def without_listed(
    batches: beam.PCollection[SampleBatch], lists: Sequence[ListFile], found: beam.PCollection[tuple[str, Found]]
) -> beam.PCollection[SampleBatch]:
    """The batches with those samples dropped that lists drop.

    Args:
      batches: selected. Of the columns that lists are about, only null or not null matters here (see
        `rules.waiting`).
      lists: in the order in which they are tried, each on what those before it kept.
      found: what `found_in_lists` gave of the same batches; more of their samples may have been kept then.
    """
    applying = beam.Map(_apply, lists, beam.pvalue.AsMultiMap(found)).with_output_types(SampleBatch)
    return batches | "Apply" >> applying
