"""Looks for duplicates among the samples that were kept."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_curator.duplicates.arrow_columns import codes_of, fixed_width
from beam_curator.duplicates.competitors import CONTENT_ID, Classes, classes_of, hashes_in
from beam_curator.duplicates.edges import Edges
from beam_curator.duplicates.keepers import Compare
from beam_curator.duplicates.perceptual import Bits, perceptual_edges
from beam_curator.duplicates.semantic import Compared, Cosines, Join, semantic_edges
from beam_curator.duplicates.settings import EXACT, SEMANTIC
from beam_curator.output.ledger import LEDGER_DIRECTORY
from beam_curator.output.stored_vectors import ID_TYPE
from beam_curator.process_tuning import usable_cores
from beam_curator.verification.checked_samples import CheckedSamples
from beam_curator.verification.differences import Difference

WHOLE = 2_000_000
"""Up to so many different embeddings of kept samples all are compared with all; above it, so many of them, spread
evenly in the order of keepers, with all."""

_SEED = 1
"""The seed of the vectors that the centres of cells are made from: others than the job's."""


@dataclasses.dataclass
class KeptSamples(CheckedSamples):
    """The samples that stay, among which are to be no duplicates.

    Attributes:
      sampled: see `duplicates.DuplicatesChecked`.
    """

    sampled: int | None = None

    def differences(self) -> Iterator[Difference]:
        """Checks that no two samples that stay are duplicates, but for two of other outputs."""
        for kind in self.settings.kinds:
            ids = self._ids(kind)
            classes = classes_of(self.samples.order, pc.if_else(pa.array(self.samples.stays), ids, None))
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
            codes = codes_of(self.table[CONTENT_ID])
            return pa.array(codes, mask=codes < 0)
        if kind == SEMANTIC:
            parts = [self.vectors.ids_of_part(index) for index in range(len(self.samples.ranges))]
            return pa.chunked_array([part.cast(ID_TYPE) for part in parts], ID_TYPE).combine_chunks()
        return hashes_in(self.table)[1]

    def _equal(self, kind: str, classes: Classes) -> Iterator[Difference]:
        """Samples that are equal: each class, with a caption, is there once."""
        samples, there = self.samples, classes.of_samples >= 0
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
        return 0 if self.samples.groups is None else int(self.samples.groups[row])

    def _both(self, kind: str, one: int, other: int) -> Difference:
        return Difference(
            LEDGER_DIRECTORY, f"{self.name(one)} and {self.name(other)} are kept, and are {kind} duplicates"
        )

    def _semantic(self, classes: Classes) -> tuple[Edges, Compare]:
        """The pairs of distinct embeddings, found by other cells than the job's, and what compares them."""
        count = len(classes)
        base = self.samples.base_classes(classes.of_samples)
        own, known = np.flatnonzero(~base), np.zeros(count, bool)
        if len(own) > WHOLE:
            self.sampled, known[:] = WHOLE, True
            known[own[np.linspace(0, len(own) - 1, WHOLE).astype(np.int64)]] = False
        row = classes.row
        compared = Compared(lambda ones: self.vectors.of_rows(row[ones]), base, known, fixed_width(classes.ids))
        join = Join(self.settings.cosine, seed=_SEED, threads=usable_cores())
        return semantic_edges(compared, join), Cosines(compared.vectors, join)

    def _perceptual(self, classes: Classes) -> tuple[Edges, Compare]:
        """The pairs of distinct hashes, and what compares them."""
        distinct = hashes_in(self.table)[0].take(classes.row)
        base = self.samples.base_classes(classes.of_samples)
        return perceptual_edges(distinct, self.settings.bits, base), Bits(distinct, self.settings.bits)

    def _near(self, kind: str, classes: Classes, edges: Edges) -> Iterator[Difference]:
        """Two samples of each pair of classes with the same caption, if there are any."""
        rows: dict[int, list[int]] = {}
        for row in np.flatnonzero(np.isin(classes.of_samples, np.concatenate([edges.first, edges.second]))).tolist():
            rows.setdefault(int(classes.of_samples[row]), []).append(row)
        for one, other in zip(edges.first.tolist(), edges.second.tolist(), strict=True):
            for a, b in itertools.product(rows[one], rows[other]):
                if self._group(a) == self._group(b) and not (self.samples.base[a] and self.samples.base[b]):
                    yield self._both(kind, a, b)

    def _unlisted(self, kind: str, classes: Classes, edges: Edges, compare: Compare) -> Iterator[Difference]:
        """The same of pairs that are not listed, for their classes have many others: those may be of other captions."""
        groups, cut = self.samples.groups, np.isin(classes.of_samples, edges.cut)
        if groups is None or not cut.any():
            return
        rows = np.flatnonzero(cut & (classes.of_samples >= 0))
        rows = rows[np.argsort(groups[rows], kind="stable")]
        for same in np.split(rows, np.flatnonzero(np.diff(groups[rows])) + 1):
            numbers = classes.of_samples[same].astype(np.int64)
            one, other = compare.within(numbers, numbers)
            unlisted = (numbers[one] < numbers[other]) & np.isnan(edges.distances(numbers[one], numbers[other]))
            for a, b in zip(same[one[unlisted]].tolist(), same[other[unlisted]].tolist(), strict=True):
                if not (self.samples.base[a] and self.samples.base[b]):
                    yield self._both(kind, a, b)
