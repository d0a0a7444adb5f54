"""Checks what the ledger tells of samples that were dropped as duplicates."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from beam_curator.duplicates.arrow_columns import codes_of, taken
from beam_curator.duplicates.competitors import CONTENT_ID, hashes_in
from beam_curator.duplicates.perceptual import Bits
from beam_curator.duplicates.settings import EXACT, SEMANTIC
from beam_curator.duplicates.vectors import cosines_of_pairs
from beam_curator.output.ledger import LEDGER_DIRECTORY
from beam_curator.verification.checked_samples import CheckedSamples
from beam_curator.verification.differences import Difference, shown


class DroppedDuplicates(CheckedSamples):
    """The samples that the ledger tells to be duplicates of others."""

    def reasons(self) -> Iterator[Difference]:
        """A sample is dropped as a duplicate if it says of what, and the other way round."""
        reason, kind = (self.table[name].to_pylist() for name in ("reason", "duplicate_kind"))
        duplicate_of = self.table["duplicate_of"].to_pylist()
        for row in np.flatnonzero(~self.samples.base).tolist():
            told = f"duplicate: {kind[row]}" if duplicate_of[row] is not None else None
            if told != reason[row] and (told or kind[row] or (reason[row] or "").startswith("duplicate: ")):
                yield Difference(
                    LEDGER_DIRECTORY,
                    f"reason of {self.name(row)} is {shown(reason[row])}, its duplicate_kind {shown(kind[row])}, its "
                    f"duplicate_of {shown(duplicate_of[row])}",
                )

    def keepers(self) -> Iterator[Difference]:
        """Checks that each sample that went has a keeper, before it, within the threshold that the ledger tells."""
        samples = self.samples
        gone = np.flatnonzero(np.asarray(self.table["duplicate_of"].is_valid()) & ~samples.base)
        told = taken(self.table["duplicate_of"], gone)
        keepers = self._keepers_told(gone, told)
        none = keepers < 0
        for row, sample_id in zip(gone[none].tolist(), told.filter(pa.array(none)).to_pylist(), strict=True):
            what = f"duplicate_of of {self.name(row)} is {shown(sample_id)}, which is no sample that is kept"
            yield Difference(LEDGER_DIRECTORY, what)
        gone, keepers = gone[~none], keepers[~none]
        position = np.empty(len(self.table), np.int64)
        position[samples.order] = np.arange(len(position))
        for row in gone[position[keepers] > position[gone]].tolist():
            yield Difference(LEDGER_DIRECTORY, f"{self.name(row)} comes before what is kept in its place")
        yield from self._relations(gone, keepers)

    def _keepers_told(self, gone: NDArray[np.int64], told: pa.Array) -> NDArray[np.int64]:
        """The rows that the ids stand for: int64 [n], -1 where none that stays has it. Samples of two outputs may have
        one id, where headers are the same and images are not: it is the one that the rest of the row holds of."""
        found, staying = np.full(len(gone), -1), np.flatnonzero(self.samples.stays)
        outputs = self.table["set"].to_numpy()[staying]
        for output in np.unique(outputs):
            rows = staying[outputs == output]
            ids = taken(self.table["sample_id"], rows)
            index = pc.fill_null(pc.index_in(told, ids), -1).to_numpy().astype(np.int64)
            free = (index >= 0) & (found < 0)
            second = np.flatnonzero((index >= 0) & (found >= 0))
            found[free] = rows[index[free]]
            wrong = second[~self._holds(gone[second], found[second])]
            found[wrong] = rows[index[wrong]]
        return found

    def _holds(self, gone: NDArray[np.int64], keepers: NDArray[np.int64]) -> NDArray[np.bool_]:
        kind, distance = self._related(gone, keepers)
        recorded, far = self._recorded(gone)
        return (kind == recorded) & ((distance == far) | (np.isnan(distance) & np.isnan(far)))

    def _recorded(self, gone: NDArray[np.int64]) -> tuple[NDArray[np.object_], NDArray[np.float64]]:
        """The kinds and distances that rows tell; None, and NaN, for none."""
        kind = np.array(taken(self.table["duplicate_kind"], gone).to_pylist(), object)
        return kind, pc.fill_null(taken(self.table["duplicate_distance"], gone), np.nan).to_numpy()

    def _relations(self, gone: NDArray[np.int64], keepers: NDArray[np.int64]) -> Iterator[Difference]:
        """Compares the kind and the distance that the ledger records of each pair with those of the first kind that
        holds."""
        kind, distance = self._related(gone, keepers)
        recorded, far = self._recorded(gone)
        for index, row in enumerate(gone.tolist()):
            if kind[index] != recorded[index]:
                due = f"is a duplicate ({kind[index]})" if kind[index] else "is no duplicate"
                what = f"{self.name(row)} {due} of what is kept in its place, not ({recorded[index]})"
                yield Difference(LEDGER_DIRECTORY, what)
            elif not np.array_equal(distance[index], far[index], equal_nan=True):
                what = f"duplicate_distance of {self.name(row)} is {far[index]}, should be {distance[index]}"
                yield Difference(LEDGER_DIRECTORY, what)

    def _related(
        self, gone: NDArray[np.int64], keepers: NDArray[np.int64]
    ) -> tuple[NDArray[np.object_], NDArray[np.float64]]:
        """Finds for each pair the first kind of duplicates that holds, "" for none, and its distance."""
        kind = np.full(len(gone), "", object)
        distance = np.full(len(gone), np.nan)
        for name in self.settings.kinds:
            rest = np.flatnonzero(kind == "")
            found, near = self._compare(name, gone[rest], keepers[rest])
            kind[rest[near]], distance[rest[near]] = name, found[near]
        if self.samples.groups is not None:
            kind[self.samples.groups[gone] != self.samples.groups[keepers]] = ""
        return kind, distance

    def _compare(
        self, kind: str, one: NDArray[np.int64], other: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """The distances of pairs of rows, and whether they are duplicates of this kind."""
        if kind == EXACT:
            codes = codes_of(self.table[CONTENT_ID])
            return np.full(len(one), np.nan), (codes[one] == codes[other]) & (codes[one] >= 0)
        if kind == SEMANTIC:
            found = cosines_of_pairs(self.vectors.of_rows, one, other)
            return found, found >= self.settings.cosine
        hashes, ids = hashes_in(self.table)
        there = np.asarray(ids.is_valid())
        found = Bits(hashes, self.settings.bits).distances(one, other)
        return found, ~np.isnan(found) & there[one] & there[other]
