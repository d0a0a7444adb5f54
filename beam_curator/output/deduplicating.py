"""Which samples of a job are duplicates, and of what: from what its score parts hold, by what was compared before."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from beam_curator.duplicates.competitors import (
    Classes,
    Competitors,
    Samples,
    classes_of,
    codes_of,
    hashes_in,
    samples_of,
)
from beam_curator.duplicates.edges import Edges, no_edges, together
from beam_curator.duplicates.keepers import Drops, NothingElse, Relation, keep_one, numbered
from beam_curator.duplicates.order import NEEDS
from beam_curator.duplicates.perceptual import Bits, perceptual_edges
from beam_curator.duplicates.products import best_products
from beam_curator.duplicates.semantic import PROVEN, Compared, Cosines, Join, join_fingerprint, semantic_edges
from beam_curator.duplicates.settings import EXACT, PERCEPTUAL, SEMANTIC, DuplicateSettings
from beam_curator.duplicates.vectors import ID_BYTES
from beam_curator.errors import JobError
from beam_curator.output.edge_store import EdgeStore, PartIds, StoredEdges
from beam_curator.output.ownership import read_job
from beam_curator.output.score_parts import embeddings_digest
from beam_curator.output.stored_vectors import StoredVectors, stored_vectors
from beam_curator.process_tuning import usable_cores

_THREADS = 16


@dataclasses.dataclass(frozen=True)
class RangeDrops:
    """The samples of a range that are duplicates.

    Attributes:
      rows: int64 [m], which ones, ascending.
      of: m times the `sample_id` of the sample that stays in its place.
      kind: m times one of `settings.KINDS`.
      distance: float64 [m], the cosine, or how many bits differ; NaN for exact copies.
    """

    rows: NDArray[np.int64]
    of: Sequence[str]
    kind: Sequence[str]
    distance: NDArray[np.float64]


def find_duplicates(
    output: str,
    settings: DuplicateSettings,
    ranges: Sequence[Competitors],
    against: Sequence[Sequence[Competitors]] = (),
) -> dict[str, RangeDrops]:
    """Which samples go, by the names of their ranges; those without any are left out.

    Args:
      output: the job's directory: edges are looked up and kept there.
      settings: what counts.
      ranges: the job's own.
      against: those of other outputs, which stay.

    Raises:
      StorageError: when parts or edges cannot be read or written, after retries.
    """
    if not sum(len(one.table) for one in ranges):
        return {}
    lacking = NEEDS.get(settings.keep)
    if lacking and not any(lacking in one.table.schema.names for one in ranges):
        raise JobError(
            f"keep={settings.keep}: there is no score of that name: have it computed, or keep by another order"
        )
    samples = samples_of([*against, ranges], settings)
    with stored_vectors([one.part for one in samples.ranges], samples.sizes) as vectors:
        relations = []
        if EXACT in settings.kinds:
            relations.append(exact_relation(samples))
        if PERCEPTUAL in settings.kinds:
            relations.append(_perceptual(samples, settings, _stores(output, PERCEPTUAL)))
        if SEMANTIC in settings.kinds:
            relations.append(_semantic(samples, settings, _stores(output, SEMANTIC), vectors))
        drops = keep_one(samples.order, samples.competes, samples.base, relations, samples.groups)
    return _by_range(samples, drops, [relation.kind for relation in relations])


def _by_range(samples: Samples, drops: Drops, kinds: Sequence[str]) -> dict[str, RangeDrops]:
    """What goes, in the order of the input."""
    order = np.argsort(drops.rows)
    rows, distance = drops.rows[order], drops.distance[order]
    of = samples.table["sample_id"].take(pa.array(drops.of[order])).to_pylist()
    kind = [kinds[index] for index in drops.kind[order]]
    found = {}
    for one, first, (start, end) in zip(
        samples.ranges, samples.starts, itertools.pairwise(np.searchsorted(rows, samples.starts)), strict=False
    ):
        if start < end:
            found[one.range] = RangeDrops(rows[start:end] - first, of[start:end], kind[start:end], distance[start:end])
    return found


def exact_relation(samples: Samples) -> Relation:
    """Copies of the same file."""
    codes = codes_of(samples.table["sha256"])
    classes = numbered(codes, (codes >= 0) & samples.stays, samples.order)
    return Relation(EXACT, classes, no_edges(int(classes.max(initial=-1)) + 1), NothingElse(), np.nan)


def _stores(output: str, kind: str) -> list[EdgeStore]:
    """Where edges may be found: first the job's own, to which new ones go, then those of the job that has its
    scores."""
    job = read_job(output)
    return [EdgeStore(place, kind) for place in dict.fromkeys([output, job.scores_in(output) if job else output])]


@dataclasses.dataclass(frozen=True)
class _Found:
    """What stands in `edges/`.

    Attributes:
      stored: the edges that serve, or None.
      parts: the ids of the rows of score parts, as far as they are known, whether the edges serve or not.
      own: whether the edges are in the job's own directory.
    """

    stored: StoredEdges | None
    parts: Mapping[str, PartIds]
    own: bool = True


def _found(stores: Sequence[EdgeStore], serves: Callable[[StoredEdges], bool]) -> _Found:
    """The first edges that serve."""
    parts: dict[str, PartIds] = {}
    for store in stores:
        stored = store.read()
        if stored is not None:
            parts = {**stored.parts, **parts}
            if serves(stored):
                return _Found(stored, parts, store is stores[0])
    return _Found(None, parts)


@dataclasses.dataclass(frozen=True)
class KnownEdges:
    """What an earlier run compared, in the numbers of this one.

    Attributes:
      edges: what it found; None for nothing.
      known: bool [classes], which were compared; see `semantic.Compared`.
    """

    edges: Edges
    known: NDArray[np.bool_]

    @property
    def whole(self) -> bool:
        """Whether nothing is left to compare."""
        return bool(self.known.all())


def known_edges(stored: StoredEdges | None, classes: Classes, base: NDArray[np.bool_]) -> KnownEdges:
    """What an earlier run compared of these classes.

    Args:
      stored: what stands; None for nothing.
      classes: of the samples of this run.
      base: bool [classes], those that are not compared with one another.
    """
    count = len(classes)
    if stored is None:
        return KnownEdges(no_edges(count), np.zeros(count, bool))
    if stored.ids.equals(classes.ids) and not (stored.base & ~base).any():
        return KnownEdges(stored.edges, np.ones(count, bool))
    number = pc.fill_null(pc.index_in(stored.ids, classes.ids), -1).to_numpy().astype(np.int64)
    there = number >= 0
    known = np.zeros(count, bool)
    known[number[there]] = ~stored.base[there] | base[number[there]]
    return KnownEdges(stored.edges.renumbered(number, count), known)


def _semantic(
    samples: Samples, settings: DuplicateSettings, stores: Sequence[EdgeStore], vectors: StoredVectors
) -> Relation:
    there = _found(stores, lambda stored: stored.limit <= settings.cosine and stored.slack >= settings.slack)
    stored, parts = there.stored, _part_ids(samples, there.parts, vectors)
    ids = pa.chunked_array([one.ids for one in parts], pa.binary()).combine_chunks()
    classes = classes_of(samples.order, ids)
    base = samples.base_classes(classes.of_samples)
    known = known_edges(stored, classes, base)

    def of_classes(numbers: NDArray[np.int64]) -> Any:
        return vectors.of_rows(classes.row[numbers])

    limit = stored.limit if stored is not None else settings.cosine
    join = Join(limit, settings.slack, threads=usable_cores(), propose=best_products())
    edges = known.edges
    if not (known.whole and there.own):
        names = np.frombuffer(b"".join(classes.ids.to_pylist()), f"V{ID_BYTES}")
        compared = Compared(names, of_classes, base, known.known & ~np.bool_(known.whole))
        fingerprint = join_fingerprint(compared, join)
        if not known.whole:
            found = semantic_edges(compared, join, stores[0].pieces(fingerprint, len(classes)))
            edges = together([edges, found], len(classes))
        by_name = {one.range: ids_there for one, ids_there in zip(samples.ranges, parts, strict=True)}
        stores[0].write(StoredEdges(limit, settings.slack, classes.ids, base, edges, by_name), fingerprint)
    near = edges.where(edges.distance >= settings.cosine)
    compare = Cosines(of_classes, dataclasses.replace(join, threshold=settings.cosine))
    return Relation(SEMANTIC, classes.of_samples, near, compare, 1.0)


def _part_ids(samples: Samples, known_ids: Mapping[str, PartIds], vectors: StoredVectors) -> list[PartIds]:
    """The ids of the vectors of each range; embeddings are read where they are not known."""
    with ThreadPoolExecutor(_THREADS) as threads:
        digests = list(threads.map(embeddings_digest, [one.part for one in samples.ranges]))
    found = []
    for index, (one, digest) in enumerate(zip(samples.ranges, digests, strict=True)):
        known = known_ids.get(one.range)
        if known is None or digest is None or known.content != digest or len(known.ids) != len(one.table):
            known = PartIds(digest or "", vectors.ids_of_part(index))
        found.append(known)
    return found


def _perceptual(samples: Samples, settings: DuplicateSettings, stores: Sequence[EdgeStore]) -> Relation:
    """Samples of parts that have no such hashes are duplicates of equal files alone."""
    hashes, ids = hashes_in(samples.table)
    classes = classes_of(samples.order, ids)
    base = samples.base_classes(classes.of_samples)
    there = _found(stores, lambda stored: stored.limit >= settings.bits)
    stored, known = there.stored, known_edges(there.stored, classes, base)
    limit = stored.limit if stored is not None else settings.bits
    distinct = hashes.take(classes.row)
    edges = known.edges
    if not known.whole:
        edges = together([edges, perceptual_edges(distinct, int(limit), base, known.known)], len(classes))
    if not (known.whole and there.own):
        told = hashlib.sha256(f"{limit} {b''.join(classes.ids.to_pylist()).hex()}".encode()).hexdigest()[:16]
        stores[0].write(StoredEdges(limit, PROVEN, classes.ids, base, edges), told)
    near = edges.where(edges.distance <= settings.bits)
    return Relation(PERCEPTUAL, classes.of_samples, near, Bits(distinct, settings.bits), 0.0)
