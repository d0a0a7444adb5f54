"""Duplicates, checked without trusting the job: what went has a keeper that stays, and no two that stay are duplicates.

Hashes and embeddings are compared again, with other cells than the job's. No file of `edges/` is read.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Generator, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from beam_curator.duplicates.arrow_columns import codes_of, fixed_width, taken
from beam_curator.duplicates.competitors import CONTENT_ID, Classes, Samples, classes_of, hashes_in, samples_of
from beam_curator.duplicates.edges import Edges
from beam_curator.duplicates.keepers import Compare
from beam_curator.duplicates.perceptual import Bits, perceptual_edges
from beam_curator.duplicates.semantic import Compared, Cosines, Join, semantic_edges
from beam_curator.duplicates.settings import EXACT, SEMANTIC, DuplicateSettings, settings_of_flags
from beam_curator.duplicates.vectors import cosines_of_pairs
from beam_curator.errors import JobError, UsageError
from beam_curator.output.against import competitors_of_output
from beam_curator.output.ledger import LEDGER_DIRECTORY
from beam_curator.output.manifest import MANIFEST
from beam_curator.output.score_parts import SCORES_DIRECTORY
from beam_curator.output.stored_vectors import ID_TYPE, StoredVectors, stored_vectors
from beam_curator.process_tuning import usable_cores
from beam_curator.verification.differences import Difference, shown
from beam_curator.verification.finished import FinishedJob
from beam_curator.verification.recorded import UNREADABLE

WHOLE = 2_000_000
"""Up to so many different embeddings of kept samples all are compared with all; above it, so many of them, spread
evenly in the order of keepers, with all."""

_SEED = 1
"""The seed of the vectors that the centres of cells are made from: others than the job's."""

_TOLD = ("reason", "duplicate_of", "duplicate_kind", "duplicate_distance")


@dataclasses.dataclass(frozen=True)
class DuplicatesChecked:
    """Counts what was compared.

    Attributes:
      dropped: duplicates, each with its keeper.
      kept: kept samples of the job.
      sampled: how many different embeddings, spread evenly in the order of keepers, were compared with all others; None
        where all were.
    """

    dropped: int
    kept: int
    sampled: int | None


def check_duplicates(finished: FinishedJob) -> Generator[Difference, None, DuplicatesChecked | None]:
    """Checks what was promised of duplicates: yields what is not so; returns None if the job did not look for any, or
    if they cannot be checked."""
    try:
        settings = settings_of_flags(finished.manifest.get("flags") or {})
    except (UsageError, TypeError) as error:
        yield Difference(MANIFEST, f"does not say in one way what a duplicate is: {error}")
        return None
    if settings is None:
        return None
    try:
        own = competitors_of_output(finished.output, settings, _TOLD)
        others = [competitors_of_output(other, settings) for other in settings.against]
    except (*UNREADABLE, KeyError, JobError) as error:
        yield Difference(LEDGER_DIRECTORY, f"duplicates cannot be checked: {error}")
        return None
    if not sum(len(one.table) for one in own):
        return None
    samples = samples_of([*others, own], settings)
    with stored_vectors([one.part for one in samples.ranges], samples.sizes) as vectors:
        checked = _Checked(samples, settings, vectors)
        try:
            yield from checked.reasons()
            yield from checked.dropped()
            yield from checked.kept()
        except (*UNREADABLE, JobError) as error:
            yield Difference(SCORES_DIRECTORY, f"duplicates cannot be checked: {error}")
            return None
    kept = int(samples.competes.sum())
    dropped = int(samples.table["duplicate_of"].is_valid().to_numpy()[~samples.base].sum())
    return DuplicatesChecked(dropped, kept, checked.sampled)


class _Checked:
    """Checks duplicates among all rows of the ledger, and of other outputs.

    Attributes:
      sampled: see `DuplicatesChecked`.
    """

    def __init__(self, samples: Samples, settings: DuplicateSettings, vectors: StoredVectors) -> None:
        self.sampled: int | None = None
        self._samples, self._settings, self._vectors, self._table = samples, settings, vectors, samples.table

    def _name(self, row: int) -> str:
        return shown(self._table["sample_id"][row].as_py())

    def reasons(self) -> Iterator[Difference]:
        """A sample is dropped as a duplicate if it says of what, and the other way round."""
        reason, kind = (self._table[name].to_pylist() for name in ("reason", "duplicate_kind"))
        of = self._table["duplicate_of"].to_pylist()
        for row in np.flatnonzero(~self._samples.base).tolist():
            told = f"duplicate: {kind[row]}" if of[row] is not None else None
            if told != reason[row] and (told or kind[row] or (reason[row] or "").startswith("duplicate: ")):
                yield Difference(
                    LEDGER_DIRECTORY,
                    f"reason of {self._name(row)} is {shown(reason[row])}, its duplicate_kind {shown(kind[row])}, its "
                    f"duplicate_of {shown(of[row])}",
                )

    def dropped(self) -> Iterator[Difference]:
        """Checks that each sample that went has a keeper, before it, within the threshold that the ledger tells."""
        samples = self._samples
        gone = np.flatnonzero(np.asarray(self._table["duplicate_of"].is_valid()) & ~samples.base)
        told = taken(self._table["duplicate_of"], gone)
        of = self._keepers_told(gone, told)
        for row, of_row in zip(gone[of < 0].tolist(), told.filter(pa.array(of < 0)).to_pylist(), strict=True):
            what = f"duplicate_of of {self._name(row)} is {shown(of_row)}, which is no sample that is kept"
            yield Difference(LEDGER_DIRECTORY, what)
        gone, of = gone[of >= 0], of[of >= 0]
        position = np.empty(len(self._table), np.int64)
        position[samples.order] = np.arange(len(position))
        for row in gone[position[of] > position[gone]].tolist():
            yield Difference(LEDGER_DIRECTORY, f"{self._name(row)} comes before what is kept in its place")
        yield from self._relations(gone, of)

    def _keepers_told(self, gone: NDArray[np.int64], told: pa.Array) -> NDArray[np.int64]:
        """The rows that the ids stand for: int64 [n], -1 where none that stays has it. Samples of two outputs may have
        one id, where headers are the same and images are not: it is the one that the rest of the row holds of."""
        found, staying = np.full(len(gone), -1), np.flatnonzero(self._samples.stays)
        outputs = self._table["set"].to_numpy()[staying]
        for output in np.unique(outputs):
            rows = staying[outputs == output]
            ids = taken(self._table["sample_id"], rows)
            index = pc.fill_null(pc.index_in(told, ids), -1).to_numpy().astype(np.int64)
            free = (index >= 0) & (found < 0)
            second = np.flatnonzero((index >= 0) & (found >= 0))
            found[free] = rows[index[free]]
            wrong = second[~self._holds(gone[second], found[second])]
            found[wrong] = rows[index[wrong]]
        return found

    def _holds(self, gone: NDArray[np.int64], of: NDArray[np.int64]) -> NDArray[np.bool_]:
        kind, distance = self._related(gone, of)
        recorded, far = self._recorded(gone)
        return (kind == recorded) & ((distance == far) | (np.isnan(distance) & np.isnan(far)))

    def _recorded(self, gone: NDArray[np.int64]) -> tuple[NDArray[np.object_], NDArray[np.float64]]:
        """The kinds and distances that rows tell; None, and NaN, for none."""
        kind = np.array(taken(self._table["duplicate_kind"], gone).to_pylist(), object)
        return kind, pc.fill_null(taken(self._table["duplicate_distance"], gone), np.nan).to_numpy()

    def _relations(self, gone: NDArray[np.int64], of: NDArray[np.int64]) -> Iterator[Difference]:
        """Compares the kind and the distance that the ledger records of each pair with those of the first kind that
        holds."""
        kind, distance = self._related(gone, of)
        recorded, far = self._recorded(gone)
        for index, row in enumerate(gone.tolist()):
            if kind[index] != recorded[index]:
                due = f"is a duplicate ({kind[index]})" if kind[index] else "is no duplicate"
                what = f"{self._name(row)} {due} of what is kept in its place, not ({recorded[index]})"
                yield Difference(LEDGER_DIRECTORY, what)
            elif not np.array_equal(distance[index], far[index], equal_nan=True):
                what = f"duplicate_distance of {self._name(row)} is {far[index]}, should be {distance[index]}"
                yield Difference(LEDGER_DIRECTORY, what)

    def _related(
        self, gone: NDArray[np.int64], of: NDArray[np.int64]
    ) -> tuple[NDArray[np.object_], NDArray[np.float64]]:
        """Finds for each pair the first kind of duplicates that holds, "" for none, and its distance."""
        kind = np.full(len(gone), "", object)
        distance = np.full(len(gone), np.nan)
        for name in self._settings.kinds:
            rest = np.flatnonzero(kind == "")
            found, near = self._compare(name, gone[rest], of[rest])
            kind[rest[near]], distance[rest[near]] = name, found[near]
        if self._samples.groups is not None:
            kind[self._samples.groups[gone] != self._samples.groups[of]] = ""
        return kind, distance

    def _compare(
        self, kind: str, one: NDArray[np.int64], other: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """The distances of pairs of rows, and whether they are duplicates of this kind."""
        if kind == EXACT:
            codes = codes_of(self._table[CONTENT_ID])
            return np.full(len(one), np.nan), (codes[one] == codes[other]) & (codes[one] >= 0)
        if kind == SEMANTIC:
            found = cosines_of_pairs(self._vectors.of_rows, one, other)
            return found, found >= self._settings.cosine
        hashes, ids = hashes_in(self._table)
        there = np.asarray(ids.is_valid())
        found = Bits(hashes, self._settings.bits).distances(one, other)
        return found, ~np.isnan(found) & there[one] & there[other]

    def kept(self) -> Iterator[Difference]:
        """Checks that no two samples that stay are duplicates, but for two of other outputs."""
        for kind in self._settings.kinds:
            ids = self._ids(kind)
            classes = classes_of(self._samples.order, pc.if_else(pa.array(self._samples.stays), ids, None))
            yield from self._equal(kind, classes)
            if kind != EXACT:
                find = self._semantic if kind == SEMANTIC else self._perceptual
                edges, compare = find(classes)
                yield from self._near(kind, classes, edges)
                yield from self._unlisted(kind, classes, edges, compare)

    def _ids(self, kind: str) -> pa.Array:
        """Gives samples that are equal for a kind of duplicates the same value; null to those that have no duplicates
        of it."""
        if kind == EXACT:
            codes = codes_of(self._table[CONTENT_ID])
            return pa.array(codes, mask=codes < 0)
        if kind == SEMANTIC:
            parts = [self._vectors.ids_of_part(index) for index in range(len(self._samples.ranges))]
            return pa.chunked_array([part.cast(ID_TYPE) for part in parts], ID_TYPE).combine_chunks()
        return hashes_in(self._table)[1]

    def _equal(self, kind: str, classes: Classes) -> Iterator[Difference]:
        """Samples that are equal: each class, with a caption, is there once."""
        samples, there = self._samples, classes.of_samples >= 0
        rows = np.concatenate([np.flatnonzero(there & samples.base), np.flatnonzero(there & samples.competes)])
        keys = classes.of_samples[rows].astype(np.int64) << 32
        if samples.groups is not None:
            keys |= samples.groups[rows] + 1  # of no group, -1, too
        _, first, number = np.unique(keys, return_index=True, return_inverse=True)
        firsts = rows[first[number]]
        again = (firsts != rows) & samples.competes[rows]
        for other, row in zip(firsts[again].tolist(), rows[again].tolist(), strict=True):
            yield self._both(kind, other, row)

    def _group(self, row: int) -> int:
        return 0 if self._samples.groups is None else int(self._samples.groups[row])

    def _both(self, kind: str, one: int, other: int) -> Difference:
        return Difference(
            LEDGER_DIRECTORY, f"{self._name(one)} and {self._name(other)} are kept, and are {kind} duplicates"
        )

    def _semantic(self, classes: Classes) -> tuple[Edges, Compare]:
        """The pairs of distinct embeddings, found by other cells than the job's, and what compares them."""
        count = len(classes)
        base = self._samples.base_classes(classes.of_samples)
        own, known = np.flatnonzero(~base), np.zeros(count, bool)
        if len(own) > WHOLE:
            self.sampled, known[:] = WHOLE, True
            known[own[np.linspace(0, len(own) - 1, WHOLE).astype(np.int64)]] = False
        row = classes.row
        compared = Compared(lambda ones: self._vectors.of_rows(row[ones]), base, known, fixed_width(classes.ids))
        join = Join(self._settings.cosine, seed=_SEED, threads=usable_cores())
        return semantic_edges(compared, join), Cosines(compared.vectors, join)

    def _perceptual(self, classes: Classes) -> tuple[Edges, Compare]:
        """The pairs of distinct hashes, and what compares them."""
        distinct = hashes_in(self._table)[0].take(classes.row)
        base = self._samples.base_classes(classes.of_samples)
        return perceptual_edges(distinct, self._settings.bits, base), Bits(distinct, self._settings.bits)

    def _near(self, kind: str, classes: Classes, edges: Edges) -> Iterator[Difference]:
        """Two samples of each pair of classes with the same caption, if there are any."""
        of: dict[int, list[int]] = {}
        for row in np.flatnonzero(np.isin(classes.of_samples, np.concatenate([edges.first, edges.second]))).tolist():
            of.setdefault(int(classes.of_samples[row]), []).append(row)
        for one, other in zip(edges.first.tolist(), edges.second.tolist(), strict=True):
            for a, b in itertools.product(of[one], of[other]):
                if self._group(a) == self._group(b) and not (self._samples.base[a] and self._samples.base[b]):
                    yield self._both(kind, a, b)

    def _unlisted(self, kind: str, classes: Classes, edges: Edges, compare: Compare) -> Iterator[Difference]:
        """The same of pairs that are not listed, for their classes have many others: those may be of other captions."""
        groups, cut = self._samples.groups, np.isin(classes.of_samples, edges.cut)
        if groups is None or not cut.any():
            return
        rows = np.flatnonzero(cut & (classes.of_samples >= 0))
        rows = rows[np.argsort(groups[rows], kind="stable")]
        for same in np.split(rows, np.flatnonzero(np.diff(groups[rows])) + 1):
            of = classes.of_samples[same].astype(np.int64)
            one, other = compare.within(of, of)
            unlisted = (of[one] < of[other]) & np.isnan(edges.distances(of[one], of[other]))
            for a, b in zip(same[one[unlisted]].tolist(), same[other[unlisted]].tolist(), strict=True):
                if not (self._samples.base[a] and self._samples.base[b]):
                    yield self._both(kind, a, b)
