"""Decides which samples of a job are duplicates, and of what: from its score parts and from what was compared
before."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from beam_curator.duplicates.arrow_columns import codes_of, fixed_width, taken
from beam_curator.duplicates.competitors import (
    CONTENT_ID,
    Classes,
    Competitors,
    Samples,
    classes_of,
    hashes_in,
    samples_of,
)
from beam_curator.duplicates.edges import Edges, no_edges, together
from beam_curator.duplicates.keepers import Drops, NothingElse, Relation, keep_one, numbered
from beam_curator.duplicates.order import NEEDS
from beam_curator.duplicates.perceptual import Bits, perceptual_edges
from beam_curator.duplicates.semantic import PROVEN, Compared, Cosines, Join, join_fingerprint
from beam_curator.duplicates.settings import EXACT, PERCEPTUAL, SEMANTIC, DuplicateSettings
from beam_curator.errors import JobError
from beam_curator.output.edge_store import EdgeStore, PartIds, StoredEdges
from beam_curator.output.job_file import read_job
from beam_curator.output.part_contents import embeddings_digest
from beam_curator.output.semantic_join import BlockTask, JoinPlace, plan_join
from beam_curator.output.stored_vectors import ID_TYPE, StoredVectors, ids_in_part, stored_vectors

_THREADS = 16


@dataclasses.dataclass(frozen=True)
class RangeDrops:
    """The samples of a range that are duplicates.

    Attributes:
      rows: int64 [m], which ones, ascending.
      of: m times the `sample_id` of the sample that stays in its place.
      kind: m times one of `settings.KINDS`.
      distance: float64 [m], the cosine, or how many bits they are apart; NaN for exact copies.
    """

    rows: NDArray[np.int64]
    of: Sequence[str]
    kind: Sequence[str]
    distance: NDArray[np.float64]


def all_samples(sets: Sequence[Sequence[Competitors]], settings: DuplicateSettings) -> Samples | None:
    """The samples of other outputs and, the last ones, the job's own; None where it has none.

    Args:
      sets: the ranges of other outputs, which stay, and, as the last, the job's own.
      settings: what counts.

    Raises:
      JobError: where there is no score to keep the best by.
    """
    own = sets[-1]
    if not sum(len(one.table) for one in own):
        return None
    lacking = NEEDS.get(settings.keep)
    if lacking and not any(lacking in one.table.schema.names for one in own):
        raise JobError(
            f"keep={settings.keep}: there is no score of that name: have it computed, or keep by another order"
        )
    return samples_of(sets, settings)


def known_ids(output: str, ranges: Sequence[Competitors]) -> Iterator[tuple[Competitors, PartIds | None]]:
    """Yields each range with the ids of its vectors, or None where no earlier comparison has kept them.

    Raises:
      StorageError: when parts or edges cannot be read, after retries.
    """
    there: dict[str, PartIds] = {}
    for store in _stores(output, SEMANTIC):
        stored = store.read()
        there = {**(stored.parts if stored is not None else {}), **there}
    with ThreadPoolExecutor(_THREADS) as threads:
        digests = list(threads.map(embeddings_digest, [one.part for one in ranges]))
    for one, digest in zip(ranges, digests, strict=True):
        found = there.get(one.range)
        stands = found is not None and digest is not None and found.content == digest
        yield one, found if stands and found is not None and len(found.ids) == len(one.table) else None


def read_ids(part: str, rows: int) -> PartIds:
    """The ids of a part's vectors, by reading it.

    Raises:
      JobError: where the part has another number of rows.
      StorageError: when it cannot be read, after retries.
    """
    return PartIds(embeddings_digest(part) or "", ids_in_part(part, rows))


def plan_semantic_join(
    output: str, settings: DuplicateSettings, samples: Samples | None, ids: Mapping[str, PartIds]
) -> Iterator[BlockTask]:
    """The blocks of vectors that have to be compared; see `semantic_join`.

    Args:
      output, settings, samples, ids: as of `find_duplicates`.

    Raises:
      JobError, StorageError: as of `plan_join`.
    """
    if samples is not None:
        asked = _Asked.of(output, samples, settings, ids)
        if not asked.known.whole:
            yield from plan_join(asked.place, asked.compared, samples, asked.classes)


def find_duplicates(
    output: str,
    settings: DuplicateSettings,
    samples: Samples | None,
    ids: Mapping[str, PartIds],
    pieces: Iterable[str] = (),
) -> dict[str, RangeDrops]:
    """Finds the samples that go, by the names of their ranges; ranges that lose none are left out.

    Args:
      output: the job's directory: edges are looked up and kept there.
      settings: what counts.
      samples: `all_samples`.
      ids: of the vectors of each range, by the ranges' names, where semantic duplicates count.
      pieces: the names of what `compare_cells` found, if `plan_semantic_join` had work.

    Raises:
      StorageError: when parts or edges cannot be read or written, after retries.
    """
    if samples is None:
        return {}
    with stored_vectors([one.part for one in samples.ranges], samples.sizes) as vectors:
        relations = []
        if EXACT in settings.kinds:
            relations.append(exact_relation(samples))
        if PERCEPTUAL in settings.kinds:
            relations.append(_perceptual(samples, settings, _stores(output, PERCEPTUAL)))
        if SEMANTIC in settings.kinds:
            relations.append(
                _semantic(_Asked.of(output, samples, settings, ids), samples, settings, sorted(pieces), vectors)
            )
        drops = keep_one(samples.order, samples.competes, samples.base, relations, samples.groups)
    return _by_range(samples, drops, [relation.kind for relation in relations])


def _by_range(samples: Samples, drops: Drops, kinds: Sequence[str]) -> dict[str, RangeDrops]:
    """Parts the drops by range, in the order of the input."""
    order = np.argsort(drops.rows)
    rows, distance = drops.rows[order], drops.distance[order]
    of = taken(samples.table["sample_id"], drops.of[order]).to_pylist()
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
    codes = codes_of(samples.table[CONTENT_ID])
    classes = numbered(codes, (codes >= 0) & samples.stays, samples.order)
    return Relation(EXACT, classes, no_edges(int(classes.max(initial=-1)) + 1), NothingElse(), np.nan)


def _stores(output: str, kind: str) -> list[EdgeStore]:
    """Lists the stores in which edges may be found: the job's own, to which new ones go, then that of the job that has
    its scores."""
    job = read_job(output)
    return [EdgeStore(place, kind) for place in dict.fromkeys([output, job.scores_in(output) if job else output])]


def _found(stores: Sequence[EdgeStore], serves: Callable[[StoredEdges], bool]) -> tuple[StoredEdges | None, bool]:
    """The first edges that serve, or None, and whether they are in the job's own directory."""
    for store in stores:
        stored = store.read()
        if stored is not None and serves(stored):
            return stored, store is stores[0]
    return None, False


@dataclasses.dataclass(frozen=True)
class KnownEdges:
    """Edges from an earlier run, in the numbers that classes have in this one.

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
    """Translates what an earlier run compared into the numbers that classes have in this run.

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


@dataclasses.dataclass(frozen=True)
class _Asked:
    """The semantic duplicates of some samples, as they are asked for.

    Attributes:
      classes: of equal vectors.
      compared: all of them, without the vectors themselves.
      known: what is known of them.
      own: whether that is in the job's own directory.
      place: of the join.
      parts: the ids of the rows of score parts.
    """

    classes: Classes
    compared: Compared
    known: KnownEdges
    own: bool
    place: JoinPlace
    parts: Mapping[str, PartIds]

    @classmethod
    def of(cls, output: str, samples: Samples, settings: DuplicateSettings, ids: Mapping[str, PartIds]) -> _Asked:
        """Finds out what has to be compared beyond what stands in `edges/`."""
        parts = {one.range: ids[one.range] for one in samples.ranges}
        stored, own = _found(
            _stores(output, SEMANTIC), lambda one: one.limit <= settings.cosine and one.slack >= settings.slack
        )
        of_ranges = [ids[one.range].ids.cast(ID_TYPE) for one in samples.ranges]
        classes = classes_of(samples.order, pa.chunked_array(of_ranges, ID_TYPE))
        del of_ranges
        names = fixed_width(classes.ids)
        classes = dataclasses.replace(classes, ids=classes.ids.cast(pa.binary()))
        base = samples.base_classes(classes.of_samples)
        known = known_edges(stored, classes, base)
        compared = Compared(_no_vectors, base, known.known & ~np.bool_(known.whole), names)
        join = Join(stored.limit if stored is not None else settings.cosine, settings.slack)
        place = JoinPlace(output, join_fingerprint(compared, join), len(classes), join)
        return cls(classes, compared, known, own, place, parts)


def _no_vectors(numbers: NDArray[np.int64]) -> Any:
    raise AssertionError(f"{len(numbers)} vectors are read where pairs are planned")


def _semantic(
    asked: _Asked, samples: Samples, settings: DuplicateSettings, pieces: Sequence[str], vectors: StoredVectors
) -> Relation:
    place, classes, edges = asked.place, asked.classes, asked.known.edges
    if not (asked.known.whole and asked.own):
        if not asked.known.whole:
            if not pieces and asked.compared.any_wanted():
                raise JobError(
                    f"edges that were there are gone, or damaged, while duplicates of {place.output} are compared: run "
                    "the same command again"
                )
            edges = together([edges, *_pieces(place, pieces)], len(classes))
        limit, slack = place.join.threshold, place.join.slack
        stored = StoredEdges(limit, slack, classes.ids, asked.compared.base, edges, asked.parts)
        place.store.write(stored, place.fingerprint)
    else:
        place.store.tidy()
    near = edges.where(edges.distance >= settings.cosine)
    join = dataclasses.replace(place.on_this_worker(), threshold=settings.cosine)
    row = classes.row
    compare = Cosines(lambda numbers: vectors.of_rows(row[numbers]), join)
    return Relation(SEMANTIC, classes.of_samples, near, compare, 1.0)


def _pieces(place: JoinPlace, names: Sequence[str]) -> Iterator[Edges]:
    kept = place.store.pieces(place.fingerprint, place.classes)
    for name in names:
        found = kept.recall(name)
        if found is None:
            raise JobError(
                f"{place.store.path(place.fingerprint, f'piece-{name}.parquet')} is gone, or damaged, while "
                "duplicates are compared: run the same command again"
            )
        yield found


def _perceptual(samples: Samples, settings: DuplicateSettings, stores: Sequence[EdgeStore]) -> Relation:
    """Samples of parts that have no such hashes are duplicates of equal files alone."""
    hashes, ids = hashes_in(samples.table)
    classes = classes_of(samples.order, ids)
    base = samples.base_classes(classes.of_samples)
    stored, own = _found(stores, lambda one: one.limit >= settings.bits)
    known = known_edges(stored, classes, base)
    limit = stored.limit if stored is not None else settings.bits
    distinct = hashes.take(classes.row)
    edges = known.edges
    if not known.whole:
        edges = together([edges, perceptual_edges(distinct, int(limit), base, known.known)], len(classes))
    if not (known.whole and own):
        told = hashlib.sha256(f"{limit} ".encode())
        for one in classes.ids:
            told.update(one.as_py().hex().encode())
        stores[0].write(StoredEdges(limit, PROVEN, classes.ids, base, edges), told.hexdigest()[:16])
    near = edges.where(edges.distance <= settings.bits)
    return Relation(PERCEPTUAL, classes.of_samples, near, Bits(distinct, settings.bits), 0.0)
