"""Counts how many samples another threshold of duplicates would keep, from the pairs that a job's `edges/` list."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_curator import rows
from beam_curator.duplicates.competitors import (
    HASHES,
    Classes,
    Competitors,
    Samples,
    classes_of,
    competitors_in,
    hashes_in,
    samples_of,
)
from beam_curator.duplicates.edges import Edges
from beam_curator.duplicates.keepers import NothingElse, Relation, keep_one
from beam_curator.duplicates.perceptual import Bits
from beam_curator.duplicates.settings import EXACT, PERCEPTUAL, SEMANTIC, DuplicateSettings
from beam_curator.errors import JobError
from beam_curator.output.against import competitors_of_output
from beam_curator.output.deduplicating import exact_relation, known_edges
from beam_curator.output.edge_store import EdgeStore, StoredEdges

BITS = (0, 2, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 64, 80, 96)
COSINES = (0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.975, 0.98, 0.985, 0.99, 0.995, 0.999)
"""Thresholds that are counted, as far as pairs are listed for them, beside the job's own."""

_ANEW = "; running the job again finds them anew"

_MOST_STEPS = 2_000_000
"""So many times a sample is taken for all curves together: with many duplicates fewer thresholds are counted."""

_OF_LEDGER = (
    *("sample_id", "uid", "shard", "offset", "status", "duplicate_kind", "width", "height", "bytes", "caption"),
    *("sha256", *HASHES, "aesthetic", "similarity"),
)
"""The columns that decide what is a duplicate, and which one stays."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """The numbers of samples that thresholds of one kind of duplicates would keep, the other kinds as they are.

    Attributes:
      kind: `PERCEPTUAL` or `SEMANTIC`.
      value: the job's own threshold.
      points: (threshold, samples kept), the loosest first.
      exact: whether these are the counts that a job would give; else some pairs of pictures with very many near copies
        are not listed.
      unknown: why there are no points, or "".
    """

    kind: str
    value: float
    points: Sequence[tuple[float, int]] = ()
    exact: bool = True
    unknown: str = ""

    @property
    def as_json(self) -> dict[str, Any]:
        """The content as JSON."""
        points = [{"threshold": threshold, "kept": kept} for threshold, kept in self.points]
        return {**dataclasses.asdict(self), "points": points}


def wanted_columns(schema: pa.Schema) -> list[str]:
    """The columns of the ledger that `kept_curves` looks at."""
    return [name for name in _OF_LEDGER if name in schema.names]


def competing(name: str, table: pa.Table, settings: DuplicateSettings) -> Competitors:
    """The samples of a file of the ledger as they competed: those that rules kept, also where they went as duplicates.

    Args:
      name: of the range.
      table: its rows, with `wanted_columns`.
      settings: of the job.
    """
    table = table if "sample_id" in table.schema.names else table.rename_columns(list(map(_named, table.schema.names)))
    if "duplicate_kind" not in table.schema.names:  # of a pipeline that looked for none
        table = table.append_column("duplicate_kind", pa.nulls(len(table), pa.string()))
    passed = pc.or_(pc.equal(table["status"].cast(pa.string()), rows.KEPT), pc.is_valid(table["duplicate_kind"]))
    place = table.schema.get_field_index("status")
    table = table.set_column(place, "status", pc.if_else(passed, rows.KEPT, rows.DROPPED))
    url, start = (table["shard"][0].as_py(), table["offset"][0].as_py()) if len(table) else ("", 0)
    return Competitors(name, url, start, "", competitors_in(table, settings))


def _named(name: str) -> str:
    return "sample_id" if name == "uid" else name


def kept_curves(output: str, settings: DuplicateSettings, ranges: Sequence[Competitors]) -> list[Curve]:
    """The curve of each kind of duplicates that has a threshold.

    Args:
      output: the output directory, whose edges are read.
      settings: of the job.
      ranges: its samples, as `competing` gives them.

    Raises:
      StorageError: when the edges, or another output that it was compared with, cannot be read.
    """
    kinds = [kind for kind in (PERCEPTUAL, SEMANTIC) if kind in settings.kinds]
    try:
        others = [competitors_of_output(other, settings) for other in settings.against]
    except JobError as gone:
        return [Curve(kind, _threshold(kind, settings), unknown=str(gone)) for kind in kinds]
    samples = samples_of([*others, ranges], settings)
    found = {kind: _Found.of(kind, output, samples, settings) for kind in kinds}
    curves = []
    for kind, one in found.items():
        unknown = next((other.unknown for other in found.values() if other.unknown), "")
        if unknown:
            curves.append(Curve(kind, one.value, unknown=unknown))
            continue
        values = one.thresholds(_MOST_STEPS // max(1, sum(other.involved for other in found.values())))
        points = [(float(value), _kept(samples, settings, found, kind, value)) for value in values]
        exact = all(other.exact for other in found.values())
        curves.append(Curve(kind, one.value, points, exact))
    return curves


def _threshold(kind: str, settings: DuplicateSettings) -> float:
    return settings.bits if kind == PERCEPTUAL else settings.cosine


def _kept(samples: Samples, settings: DuplicateSettings, found: Mapping[str, _Found], kind: str, value: float) -> int:
    """Counts the samples that stay if one kind of duplicates has another threshold."""
    relations = [exact_relation(samples)] if EXACT in settings.kinds else []
    relations += [one.relation(value if of == kind else one.value) for of, one in found.items()]
    drops = keep_one(samples.order, samples.competes, samples.base, relations, samples.groups)
    return int(samples.competes.sum()) - len(drops.rows)


@dataclasses.dataclass(frozen=True)
class _Found:
    """The pairs of one kind that a job compared, in the numbers of these samples.

    Attributes:
      kind: which.
      value: the job's threshold.
      limit: as far as pairs are listed.
      classes, edges: of the samples.
      compare: what tells of pairs that are not listed.
      unknown: why there is nothing, or "".
    """

    kind: str
    value: float
    limit: float = 0.0
    classes: Any = None
    edges: Edges | None = None
    compare: Any = None
    unknown: str = ""

    @classmethod
    def of(cls, kind: str, output: str, samples: Samples, settings: DuplicateSettings) -> _Found:
        """Reads the pairs of one kind from `edges/`."""
        value = _threshold(kind, settings)
        stored = EdgeStore(output, kind).read()
        if stored is None:
            return cls(kind, value, unknown=f"the pairs of {kind} duplicates are not in edges/ any more{_ANEW}")
        if kind == PERCEPTUAL:
            hashes, ids = hashes_in(samples.table)
            classes = classes_of(samples.order, ids)
            compare: Any = hashes.take(classes.row)
        else:
            ids = _ids_of_embeddings(samples, stored)
            if ids is None:
                return cls(kind, value, unknown=f"the pairs in edges/ are of other embeddings{_ANEW}")
            classes, compare = classes_of(samples.order, ids), None
        return cls._known(kind, value, stored, samples, classes, compare)

    @classmethod
    def _known(
        cls, kind: str, value: float, stored: StoredEdges, samples: Samples, classes: Classes, compare: Any
    ) -> _Found:
        known = known_edges(stored, classes, samples.base_classes(classes.of_samples))
        if not known.whole:
            return cls(kind, value, unknown=f"the pairs in edges/ are of other samples{_ANEW}")
        return cls(kind, value, stored.limit, classes, known.edges, compare)

    @property
    def exact(self) -> bool:
        """Whether nothing is left to compare."""
        return self.kind == PERCEPTUAL or (self.edges is not None and not len(self.edges.cut))

    @property
    def involved(self) -> int:
        """The number of samples that are near another one, about."""
        assert self.edges is not None
        related = len(np.unique(np.concatenate([self.edges.first, self.edges.second])))
        return related + int((self.classes.of_samples >= 0).sum()) - len(self.classes)

    def thresholds(self, most: int) -> list[float]:
        """Chooses thresholds for which pairs are listed, the loosest first: the job's own, and at most `most`
        others."""
        if self.kind == PERCEPTUAL:
            others = [float(bits) for bits in reversed(BITS) if bits <= self.limit and bits != self.value]
        else:
            others = [cosine for cosine in COSINES if cosine >= self.limit and cosine != self.value]
        step = -(-len(others) // max(2, most))
        chosen = others[:: max(1, step)]
        return sorted([self.value, *chosen], reverse=self.kind == PERCEPTUAL)

    def relation(self, value: float) -> Relation:
        """Makes the relation of duplicates at this threshold."""
        assert self.edges is not None
        if self.kind == PERCEPTUAL:
            near = self.edges.where(self.edges.distance <= value)
            return Relation(PERCEPTUAL, self.classes.of_samples, near, Bits(self.compare, int(value)), 0.0)
        near = self.edges.where(self.edges.distance >= value)
        whole = dataclasses.replace(near, cut=near.cut[:0], horizon=near.horizon[:0])
        return Relation(SEMANTIC, self.classes.of_samples, whole, NothingElse(), 1.0)


def _ids_of_embeddings(samples: Samples, stored: StoredEdges) -> pa.Array | None:
    """The ids of the embeddings of all samples, as they were known when the pairs were found."""
    found = []
    for one in samples.ranges:
        ids = stored.parts.get(one.range)
        if ids is None or len(ids.ids) != len(one.table):
            return None
        found.append(ids.ids.cast(pa.binary()))
    return pa.chunked_array(found, pa.binary()).combine_chunks() if found else pa.array([], pa.binary())
