"""KeepListed: samples stay or go by lists, which are joined with them, however long they are."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np

from beam_curator.errors import JobError, StorageError, UsageError
from beam_curator.rule_tally import sum_tallies
from beam_curator.rules.lists import ListFile, apply_lists, candidates, ids_of, in_buckets
from beam_curator.samples import SampleBatch
from beam_curator.sources.list_files import entries_of
from beam_curator.transforms.beams_own import inner_steps_untyped
from beam_curator.transforms.lineage import check_before_duplicates
from beam_curator.transforms.spilling import Spillable

Bucket = tuple[int, int]
"""The place of a list, and which part of it."""


@dataclasses.dataclass(frozen=True)
class Found:
    """Rows of a range that are in a list.

    Attributes:
      place: of the list.
      rows: int64 [m], their indices.
    """

    place: int
    rows: np.ndarray


def _ids(one: ListFile) -> Iterator[np.ndarray]:
    """The ids of a list's entries, some at a time."""
    try:
        yield from map(ids_of, entries_of(one))
    except (StorageError, OSError, ValueError) as error:  # Arrow's are ValueErrors
        raise JobError(f"{one.path}: cannot be read: {str(error).splitlines()[0]}") from error


def _entries(place: int, lists: Sequence[ListFile]) -> Iterator[tuple[Bucket, Spillable]]:
    for ids in _ids(lists[place]):
        for bucket, chosen in in_buckets(ids, lists[place].buckets):
            yield (place, bucket), Spillable(ids[chosen])


OfRange = tuple[str, np.ndarray, np.ndarray]
"""The name of a range, indices of its rows, and 16 bytes of the value of each."""


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
    """What `KeepListed` gives of all batches of a job, without Beam; no list is in memory whole.

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
    """Which of these ids are in a list: bool, in the shape of each."""
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
    """The samples that are kept so far and in a list, by the name of their range."""
    places = batches.pipeline | "Lists" >> beam.Create([*range(len(lists))]).with_output_types(int)
    entries = places | "Entries" >> beam.FlatMap(_entries, lists).with_output_types(tuple[Bucket, Spillable])
    samples = batches | "Samples" >> beam.FlatMap(_samples, lists).with_output_types(tuple[Bucket, Spillable])
    with inner_steps_untyped(batches.pipeline):
        joined = {"entries": entries, "samples": samples} | "Join" >> beam.CoGroupByKey()
        return joined | "Match" >> beam.FlatMap(_matched).with_output_types(tuple[str, Found])


def without_listed(
    batches: beam.PCollection[SampleBatch], lists: Sequence[ListFile], found: beam.PCollection[tuple[str, Found]]
) -> beam.PCollection[SampleBatch]:
    """The batches with samples dropped that lists drop.

    Args:
      batches: of what lists are of, only whether there is a value matters.
      lists: in the order in which they are tried.
      found: what `found_in_lists` gave of the same batches, of which more samples may have been kept then.
    """
    applying = beam.Map(_apply, lists, beam.pvalue.AsMultiMap(found)).with_output_types(SampleBatch)
    return batches | "Apply" >> applying


@beam.typehints.with_input_types(SampleBatch)
@beam.typehints.with_output_types(SampleBatch)
class KeepListed(beam.PTransform):
    """Drops samples that are in a list, or in none of those that allow: takes `SampleBatch`, selected, and gives it.

    Lists and samples meet in parts of about a million entries, by 16 bytes of each value: no worker has a list whole.

    Args:
      *lists: in the order in which they are tried, each on what those before it kept.

    Raises:
      UsageError: for no list.
    """

    def __init__(self, *lists: ListFile) -> None:
        super().__init__()
        if not lists:
            raise UsageError("KeepListed: give a list")
        self.lists = lists

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a manifest says of it."""
        return {"rules": [one.name for one in self.lists]}

    def expand(self, batches: beam.PCollection[SampleBatch]) -> beam.PCollection[SampleBatch]:
        check_before_duplicates(batches, "KeepListed")
        return without_listed(batches, self.lists, found_in_lists(batches, self.lists))

    def display_data(self) -> dict[str, Any]:
        return {"lists": ", ".join(one.name for one in self.lists)}
