"""Duplicates as they are shown: the biggest groups with what stays of each, and pairs by how near they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from beam_curator.report.accumulators import Accumulator
from beam_curator.report.choosing import First, Place
from beam_curator.report.passes import Pass
from beam_curator.report.view import View

GROUPS, OF_GROUP = 8, 5
"""So many groups are shown, and so many of what went in each."""

PAIRS = 4
"""Pairs of one band."""

BANDS: Mapping[str, Sequence[float]] = {
    "perceptual": (0, 4, 8, 16, 24, 32, 48, 64, 97),
    "semantic": (-1, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99, 0.995, 1.01),
}
"""The cuts between which distances of duplicates are told apart: bits that differ, and cosines."""

_IDS = ("sample_id", "uid")


def id_column(schema: pa.Schema) -> str:
    """The column that names samples; `uid` in earlier releases."""
    return next((name for name in _IDS if name in schema.names), _IDS[0])


def ids_of(texts: pa.Array) -> NDArray[np.uint64]:
    """A hash of each of n names, none null: uint64 [n]; names of one length are hashed by the column."""
    found = np.zeros(len(texts), np.uint64)
    lengths = pc.binary_length(texts).to_numpy(zero_copy_only=False)
    for width in np.unique(lengths).tolist():
        rows_there = np.flatnonzero(lengths == width)
        some = texts if len(rows_there) == len(texts) else texts.take(pa.array(rows_there))
        found[rows_there] = _hashed(some.cast(pa.binary(width)) if width else None, width, len(some))
    return found


def _hashed(texts: pa.FixedSizeBinaryArray | None, width: int, count: int) -> NDArray[np.uint64]:
    """A hash of each of n texts of one length."""
    padded = np.zeros((count, -(-width // 8) * 8), np.uint8)
    if texts is not None:
        data = np.frombuffer(texts.buffers()[1], np.uint8)[texts.offset * width :][: count * width]
        padded[:, :width] = data.reshape(count, width)
    mixed = np.full(count, width, np.uint64)
    for word in padded.view(np.uint64).T:
        mixed = (mixed ^ word) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    return mixed


def keepers_in(view: View) -> NDArray[np.uint64]:
    """Gives, for each duplicate in some rows, the hash of what stays in its place."""
    if "duplicate_of" not in view.table.schema.names:
        return np.empty(0, np.uint64)
    return ids_of(view.table["duplicate_of"].drop_null().combine_chunks())


_PENDING = 1 << 20


class KeeperCounts(Accumulator):
    """Counts how many duplicates went for each sample that stays; 16 bytes for each of these, in memory."""

    def __init__(self) -> None:
        self._ids, self._counts = np.empty(0, np.uint64), np.empty(0, np.int64)
        self._pending: list[NDArray[np.uint64]] = []

    def add(self, view: View) -> None:
        """Counts some more rows."""
        found = keepers_in(view)
        if len(found):
            self._pending.append(found)
        if sum(map(len, self._pending)) >= max(_PENDING, len(self._ids)):
            self.settle()

    def merge(self, other: KeeperCounts) -> None:
        """Adds what another one has counted."""
        self.settle()
        other.settle()
        self._sum(other._ids, other._counts)

    def settle(self) -> None:
        if self._pending:
            ids, counts = np.unique(np.concatenate(self._pending), return_counts=True)
            self._pending = []
            self._sum(ids, counts)

    def _sum(self, ids: NDArray[np.uint64], counts: NDArray[np.int64]) -> None:
        self._ids, inverse = np.unique(np.concatenate([self._ids, ids]), return_inverse=True)
        together = np.zeros(len(self._ids), np.int64)
        np.add.at(together, inverse, np.concatenate([self._counts, counts]))
        self._counts = together

    @property
    def groups(self) -> int:
        """The number of samples that stay for others."""
        self.settle()
        return len(self._ids)

    @property
    def copies(self) -> int:
        """The number of samples that went."""
        self.settle()
        return int(self._counts.sum())

    def biggest(self) -> list[tuple[int, int]]:
        """(hash of what stays, how many went) of the biggest groups."""
        self.settle()
        first = np.lexsort([self._ids, -self._counts])[:GROUPS]
        return list(zip(self._ids[first].tolist(), self._counts[first].tolist(), strict=True))


class Copies(Accumulator):
    """Groups and pairs, filled by a pass over the ledger; `Keepers` finds what stays in the place of each."""

    def __init__(self, biggest: Sequence[tuple[int, int]]) -> None:
        self._sizes = dict(biggest)
        self._members = {keeper: _first(OF_GROUP) for keeper, _ in biggest}
        self._pairs: dict[tuple[str, int], First] = {}
        self._counts: dict[tuple[str, int], int] = {}

    @property
    def any(self) -> bool:
        """Whether there is any duplicate."""
        return bool(self._sizes)

    def add(self, view: View) -> None:
        """Looks at some more rows."""
        if "duplicate_of" not in view.table.schema.names:
            return
        there = np.flatnonzero(np.asarray(view.table["duplicate_of"].is_valid()))
        if not len(there):
            return
        keepers = keepers_in(view)
        for keeper, first in self._members.items():
            of_group = there[keepers == np.uint64(keeper)]
            first.add(view, of_group, view.random_ranks[of_group])
        self._add_pairs(view, there)

    def _add_pairs(self, view: View, there: NDArray[np.int64]) -> None:
        if "duplicate_kind" not in view.table.schema.names:
            return
        kinds = np.asarray(view.table["duplicate_kind"].to_pylist(), object)[there]
        distances = view.table["duplicate_distance"].to_numpy()[there]
        for kind in sorted({kind for kind in kinds if kind}):
            of_kind = kinds == kind
            bands = np.searchsorted(BANDS.get(kind, ()), distances[of_kind], "right")
            for band in np.unique(bands).tolist():
                rows_there = there[of_kind][bands == band]
                self._counts[kind, band] = self._counts.get((kind, band), 0) + len(rows_there)
                first = self._pairs.setdefault((kind, band), _first(PAIRS))
                first.add(view, rows_there, view.random_ranks[rows_there])

    def merge(self, other: Copies) -> None:
        """Adds what another one of the same groups has found."""
        for keeper, first in self._members.items():
            first.merge(other._members[keeper])
        for band, first in other._pairs.items():
            self._pairs.setdefault(band, _first(PAIRS)).merge(first)
            self._counts[band] = self._counts.get(band, 0) + other._counts[band]

    @property
    def keeper_names(self) -> dict[Place, str]:
        """The places of all duplicates that are shown, each with the name of what stays in its place."""
        firsts = [*self._members.values(), *(self._pairs[band] for band in sorted(self._pairs))]
        return {place: name for first in firsts for place, name in zip(first.places, first.texts, strict=True)}

    def as_json(self, number_of: Mapping[Place, int], keeper_of: Mapping[Place, Place | None]) -> dict[str, Any]:
        """Makes the figures of duplicates, as JSON has them.

        Args:
          number_of: of each sample that is told, its number among them.
          keeper_of: of each duplicate that is shown, where what stays stands; None for a sample of another output.
        """

        def keeper(places: Sequence[Place]) -> int | None:
            place = next((keeper_of.get(place) for place in places), None)
            return None if place is None else number_of[place]

        groups = [
            {
                "went": self._sizes[group],
                "keeper": keeper(first.places),
                "samples": [number_of[place] for place in first.places],
            }
            for group, first in self._members.items()
        ]
        bands = [
            {
                "kind": kind,
                **_band_told(kind, band),
                "went": self._counts[kind, band],
                "pairs": [{"dropped": number_of[one], "kept": keeper([one])} for one in self._pairs[kind, band].places],
            }
            for kind, band in sorted(self._pairs)
        ]
        return {"groups": groups, "bands": bands}


def _band_told(kind: str, band: int) -> dict[str, float | None]:
    cuts = BANDS.get(kind)
    if cuts is None:
        return {"from": None, "below": None}
    return {"from": cuts[max(band - 1, 0)], "below": cuts[min(band, len(cuts) - 1)]}


class Keepers(Pass):
    """Finds the samples that stay, by their names, among those that are kept: a sample of another output that stays may
    have the name of one here, as where both have looked at the same input."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = dict.fromkeys(names)
        self._hashes = np.array(sorted(ids_of(pa.array(list(self._names), pa.string())).tolist()), np.uint64)
        self.found: dict[str, Place] = {}

    @property
    def is_needed(self) -> bool:
        return bool(self._names)

    def columns(self, schema: pa.Schema) -> Sequence[str]:
        return [id_column(schema), "status", "reason"]

    def add(self, view: View) -> None:
        column = id_column(view.table.schema)
        if column not in view.table.schema.names:
            return
        names = pc.fill_null(view.table[column], "").combine_chunks()
        there = np.flatnonzero(np.isin(ids_of(names), self._hashes) & view.kept)
        places = [Place(*place) for place in view.stand(there).tolist()]
        self._find(zip(names.take(pa.array(there)).to_pylist(), places, strict=True))

    def merge(self, other: Keepers) -> None:
        self._find(other.found.items())

    def _find(self, found: Iterable[tuple[str, Place]]) -> None:
        for name, place in found:
            if name in self._names:
                self.found[name] = min(place, self.found.get(name, place))


def _first(most: int) -> First:
    return First(most, "duplicate_of")
