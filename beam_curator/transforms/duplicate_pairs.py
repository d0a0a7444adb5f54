"""FindDuplicates and KeepOne: duplicates among anything that has vectors, hashes or pairs, in any pipeline."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
from numpy.typing import NDArray

from beam_curator.defaults import DEFAULT_DUPLICATE_BITS, DEFAULT_DUPLICATE_COSINE
from beam_curator.duplicates.competitors import HASHES
from beam_curator.duplicates.edges import Edges, listed, together
from beam_curator.duplicates.hashes import Hashes, hashes_of
from beam_curator.duplicates.keepers import NothingElse, Relation, keep_one
from beam_curator.duplicates.perceptual import Bits, perceptual_edges
from beam_curator.duplicates.scratch import laid_aside
from beam_curator.duplicates.semantic import PROVEN, Compared, Join, semantic_edges
from beam_curator.duplicates.settings import PERCEPTUAL, SEMANTIC, DuplicateSettings
from beam_curator.duplicates.vectors import comparable, ids_of, unit_vectors
from beam_curator.errors import CurationError, UsageError, first_line
from beam_curator.given_values import is_whole
from beam_curator.process_tuning import usable_cores
from beam_curator.transforms.beams_own import inner_steps_untyped


class DuplicatePair(NamedTuple):
    """Two elements that are duplicates.

    Attributes:
      first, second: their ids, the smaller one first.
      kind: one of `defaults.DUPLICATE_KINDS`.
      distance: the cosine of their vectors, or the Hamming distance of their hashes in bits.
    """

    first: str
    second: str
    kind: str
    distance: float


class DuplicateDrop(NamedTuple):
    """An element that is dropped as a duplicate.

    Attributes:
      id: its id.
      duplicate_of: the id of its duplicate with the least rank that is kept.
      kind, distance: those of this pair.
    """

    id: str
    duplicate_of: str
    kind: str
    distance: float


@beam.typehints.with_input_types(tuple[str, Any])
@beam.typehints.with_output_types(DuplicatePair)
class FindDuplicates(beam.PTransform):
    """Finds all pairs of vectors whose cosine reaches a threshold: takes (id, vector), gives `DuplicatePair`.

    With `bits` it compares perceptual hashes in place of vectors: it then takes (id, hashes), where hashes are the
    columns `phash256`, `texture` and `colours` of the ledger, in this order. `phash256_cropped` and `phash256_clipped`
    may follow; by these, cropped copies and copies with clipped highlights are found.

    No pair is missed: the cells that vectors are put into decide how long it takes, and nothing else (see
    `beam_curator.duplicates.cells`). Vectors are rounded to unit vectors of float16, whose cosines are exact; zeros and
    NaN are duplicates of nothing. Pairs of equal vectors are given as well: drop exact copies before.

    One worker compares all vectors. For a million vectors of 768 numbers it needs some 0.5 GB of memory, 1.6 GB of disk
    for temporary files and, on two cores, some minutes; the runner may hold the vectors in memory besides.

    Args:
      cosine: the least cosine of a pair, -1 to 1.
      slack: 0.5 to find all pairs; less to find nearly all in less time (see `duplicates.semantic.Join.slack`).
      cells: number of cells; None for as many as make it fastest.
      bits: the greatest Hamming distance of a pair's 256-bit hashes, in bits (see `duplicates.hashes`); None to compare
        vectors.

    Raises:
      UsageError: an argument is out of its range, or belongs to vectors and is given beside `bits`.
      CurationError: when it runs: vectors are not numbers, or not of one length; hashes are none; an id comes twice.
    """

    def __init__(
        self,
        cosine: float = DEFAULT_DUPLICATE_COSINE,
        slack: float = PROVEN,
        cells: int | None = None,
        bits: int | None = None,
    ) -> None:
        super().__init__()
        settings = DuplicateSettings(cosine=cosine, slack=slack, bits=DEFAULT_DUPLICATE_BITS if bits is None else bits)
        if cells is not None and not (is_whole(cells) and cells >= 1):
            raise UsageError(f"cells={cells}: a whole number, 1 or more, or None for as many as suit")
        if bits is not None and (cosine, slack, cells) != (DEFAULT_DUPLICATE_COSINE, PROVEN, None):
            raise UsageError(
                f"bits={bits}: hashes have no cosine, slack and cells, which are of vectors: leave them out"
            )
        self.join = Join(settings.cosine, settings.slack, None if cells is None else int(cells))
        self.bits = None if bits is None else settings.bits

    def expand(self, things: beam.PCollection[tuple[str, Any]]) -> beam.PCollection[DuplicatePair]:
        with inner_steps_untyped(things.pipeline):
            gathered = things | "OnOneWorker" >> beam.WithKeys(None) | "Gather" >> beam.GroupByKey()
        return gathered | "Compare" >> beam.FlatMap(_pairs, self.join, self.bits).with_output_types(DuplicatePair)

    def display_data(self) -> dict[str, Any]:
        return {"cosine": self.join.threshold, "slack": self.join.slack} if self.bits is None else {"bits": self.bits}


def _pairs(gathered: tuple[None, Iterable[tuple[str, Any]]], join: Join, bits: int | None) -> Iterator[DuplicatePair]:
    if bits is None:
        yield from semantic_pairs(*_arrays(gathered[1]), join)
    else:
        yield from perceptual_pairs(_by_id(gathered[1]), bits)


def _by_id(things: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Things by their ids, ascending.

    Raises:
      CurationError: for an id that comes twice.
    """
    found = list(things)
    _check_ids([id for id, _ in found])
    return dict(sorted(found, key=lambda thing: thing[0]))


def perceptual_pairs(things: Mapping[str, Sequence[Any]], bits: int) -> Iterator[DuplicatePair]:
    """Yields all pairs of pictures that are perceptual duplicates.

    Args:
      things: `phash256`, `texture` and `colours` of each id, ascending; the others of `HASHES` of all or of none.
      bits: how far they may be apart.

    Raises:
      CurationError: for what are no hashes.
    """
    ids = list(things)
    hashes, there = _hashes(things)
    rows = np.flatnonzero(there)
    _, first, inverse = np.unique(hashes.take(rows).ids, return_index=True, return_inverse=True)
    distinct = hashes.take(rows[first])
    found, compare = perceptual_edges(distinct, bits), Bits(distinct, bits)
    cut = found.cut.astype(np.int64)
    one, other = compare.within(cut, cut)  # pairs that are not listed are of two that are cut
    one, other = cut[one[one < other]], cut[other[one < other]]
    unlisted = np.isnan(found.distances(one, other))
    rest = listed(len(first), one[unlisted], other[unlisted], compare.distances(one[unlisted], other[unlisted]))
    yield from _of_things(ids, _members(rows, inverse), together([found, rest], len(first)), PERCEPTUAL, 0.0)


def _hashes(things: Mapping[str, Sequence[Any]]) -> tuple[Hashes, NDArray[np.bool_]]:
    """The hashes of things, and which can be compared; raises as `perceptual_pairs`."""
    try:
        return hashes_of(*[list(column) for column in zip(*things.values(), strict=True)] or ([], [], []))
    except (TypeError, ValueError, OverflowError) as error:
        edits = f"of all or of none {' and '.join(HASHES[3:])}"
        told = f"hashes to compare are phash256, texture and colours, and {edits}, as the ledger has them"
        told += f" ({first_line(error)})"
        if len(things) == 1:
            raise CurationError(f"{next(iter(things))!r}: {told}") from error
        for id, of_one in things.items():
            _hashes({id: of_one})
        raise CurationError(told) from error


def _arrays(things: Iterable[tuple[str, Any]]) -> tuple[list[str], np.ndarray]:
    """Ids as they come, and their vectors as they are compared, laid aside: float16 [n, dim]."""
    ids: list[str] = []

    def units() -> Iterator[np.ndarray]:
        length = None
        for id, vector in things:
            one = _array(id, vector)
            if one.ndim != 1 or length not in (None, len(one)):
                raise CurationError(
                    f"the vector of {id!r} has the shape {list(one.shape)}: give {length or 'some'} numbers for each id"
                )
            length = len(one)
            ids.append(id)
            yield _unit(id, one)

    vectors = laid_aside(units(), np.float16)
    _check_ids(ids)
    return ids, vectors.reshape(len(ids), -1) if ids else np.zeros((0, 1), np.float16)


def _unit(id: Any, vector: np.ndarray) -> np.ndarray:
    try:
        return unit_vectors(vector[None])
    except CurationError as error:
        raise CurationError(f"the vector of {id!r} is none: {error}") from error


def _array(id: Any, vector: Any) -> np.ndarray:
    try:
        return np.asarray(vector)
    except (TypeError, ValueError, RuntimeError) as error:  # of torch: a tensor that requires gradients
        raise CurationError(f"the vector of {id!r} is none: {first_line(error)}") from error


def semantic_pairs(ids: list[str], vectors: np.ndarray, join: Join) -> Iterator[DuplicatePair]:
    """Yields all pairs of vectors within the threshold.

    Args:
      ids: n different ones.
      vectors: float16 [n, dim], of unit length.
      join: how.
    """
    order = np.array(sorted(range(len(ids)), key=ids.__getitem__), np.int64)
    there = np.flatnonzero(comparable(vectors)[order])
    names, first, inverse = np.unique(ids_of(vectors)[order[there]], return_index=True, return_inverse=True)
    row, no = order[there[first]], np.zeros(len(names), bool)
    compared = Compared(lambda ones: vectors[row[ones]], no, no, names)
    everything = dataclasses.replace(join, threads=usable_cores(), neighbours=max(len(ids), 1))
    found = semantic_edges(compared, everything)
    yield from _of_things([ids[one] for one in order.tolist()], _members(there, inverse), found, SEMANTIC, 1.0)


def _members(rows: NDArray[np.int64], classes: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The rows of each class, ascending."""
    ends = np.cumsum(np.bincount(classes.ravel()))
    return np.split(rows[np.argsort(classes.ravel(), kind="stable")], ends[:-1])


def _of_things(
    ids: Sequence[str], members: Sequence[NDArray[np.int64]], edges: Edges, kind: str, equal: float
) -> Iterator[DuplicatePair]:
    """The pairs of things, from those of their classes."""
    for alike in members:
        for one, other in itertools.combinations(alike.tolist(), 2):
            yield DuplicatePair(ids[one], ids[other], kind, equal)
    for a, b, distance in zip(edges.first.tolist(), edges.second.tolist(), edges.distance.tolist(), strict=True):
        for pair in itertools.product(members[a].tolist(), members[b].tolist()):
            yield DuplicatePair(ids[min(pair)], ids[max(pair)], kind, distance)


def _check_ids(ids: Sequence[Any]) -> None:
    """Raises CurationError for an id that is no text, and for one that comes twice."""
    other = next((id for id in ids if not isinstance(id, str)), None)
    if other is not None:
        raise CurationError(f"the id {other!r} is no text: give each thing one, such as {str(other)!r}")
    twice = next((one for one, following in itertools.pairwise(sorted(ids)) if one == following), None)
    if twice is not None:
        raise CurationError(f"the id {twice!r} comes twice: give each thing an id of its own")


@beam.typehints.with_input_types(tuple[str, Any])
@beam.typehints.with_output_types(DuplicateDrop)
class KeepOne(beam.PTransform):
    """Decides which duplicates are dropped: takes (id, rank), gives `DuplicateDrop`.

    Elements are gone through by rank, the least first, and equal ranks by id. An element is dropped if, and only if, it
    is a duplicate of one that was kept before it; so each dropped element has a duplicate that is kept, and no two kept
    ones are duplicates.

    Args:
      pairs: all pairs of duplicates, from `FindDuplicates` or made by yourself: `DuplicatePair`, or (id, id, kind,
        distance). Pairs of ids without a rank are ignored. The distance may be NaN; of a pair that is given twice the
        lesser distance is taken.

    Raises:
      UsageError: pairs are no PCollection, or in other windows than the ranks.
      CurationError: when it runs: an id comes twice, ranks cannot be compared, or an element of `pairs` is no pair.
    """

    def __init__(self, pairs: beam.PCollection[DuplicatePair]) -> None:
        super().__init__()
        if not isinstance(pairs, beam.PCollection):
            raise UsageError(
                f"KeepOne takes a PCollection of pairs, as FindDuplicates gives, not {type(pairs).__name__}"
            )
        self.pairs = pairs

    def expand(self, ranked: beam.PCollection[tuple[str, Any]]) -> beam.PCollection[DuplicateDrop]:
        if ranked.windowing.windowfn != self.pairs.windowing.windowfn:
            ranks, pairs = (type(of.windowing.windowfn).__name__ for of in (ranked, self.pairs))
            raise UsageError(
                f"KeepOne is given ranks in {ranks} and pairs in other windows ({pairs}): make them the same"
            )
        with inner_steps_untyped(ranked.pipeline):
            things = ranked | "Ranked" >> beam.WithKeys(None)
            pairs = self.pairs | "Pairs" >> beam.WithKeys(None)
            both = {"things": things, "pairs": pairs} | "OnOneWorker" >> beam.CoGroupByKey()
        return both | "Keep" >> beam.FlatMap(_drops).with_output_types(DuplicateDrop)


def _drops(gathered: tuple[None, dict[str, Iterable[Any]]]) -> Iterator[DuplicateDrop]:
    yield from drops_of(gathered[1]["things"], gathered[1]["pairs"])


def drops_of(
    ranked: Iterable[tuple[str, Any]], pairs: Iterable[tuple[str, str, str, float]]
) -> Iterator[DuplicateDrop]:
    """Decides which elements are dropped, as `KeepOne` does.

    Args:
      ranked: ids and ranks.
      pairs: of duplicates.

    Raises:
      CurationError: for an id that comes twice, for ranks that have no order, and for what is no pair.
    """
    ids = _best_first(ranked)
    number = {id: index for index, id in enumerate(ids)}
    by_kind: dict[str, list[tuple[int, int, float]]] = {}
    for first, second, kind, distance in map(_pair, pairs):
        if first in number and second in number and first != second:
            one, other = sorted((number[first], number[second]))
            by_kind.setdefault(kind, []).append((one, other, distance))
    kinds = sorted(by_kind)
    told = [sorted(by_kind[kind], key=lambda pair: (*pair[:2], math.isnan(pair[2]), pair[2])) for kind in kinds]
    relations = [_relation(kind, of_kind, len(ids)) for kind, of_kind in zip(kinds, told, strict=True)]
    everything = np.arange(len(ids))
    found = keep_one(everything, np.ones(len(ids), bool), np.zeros(len(ids), bool), relations)
    for row, of, kind, pair in zip(
        *(array.astype(int).tolist() for array in (found.rows, found.of, found.kind, found.distance)), strict=True
    ):
        yield DuplicateDrop(ids[row], ids[of], kinds[kind], told[kind][pair][2])


def _pair(given: Any) -> DuplicatePair:
    """A pair as it was given; of a distance that is not known NaN."""
    try:
        first, second, kind, distance = given
        pair = DuplicatePair(first, second, kind, math.nan if distance is None else float(distance))
    except (TypeError, ValueError) as error:
        raise CurationError(f"{given!r} is no pair ({first_line(error)}): give (id, id, kind, distance)") from error
    if not all(isinstance(text, str) for text in pair[:3]):
        raise CurationError(f"{given!r} is no pair: give (id, id, kind, distance), of which the first three are texts")
    return pair


def _best_first(ranked: Iterable[tuple[str, Any]]) -> list[str]:
    """Ids in the order of their ranks."""
    things = [(rank, id) for id, rank in ranked]
    _check_ids([id for _, id in things])
    try:
        unordered = next((id for rank, id in things if _has_no_order(rank)), None)
        best_first = [id for _, id in sorted(things)] if unordered is None else []
    except (TypeError, ValueError) as error:
        raise CurationError(f"ranks have no order ({error}): give numbers, or anything else of one type") from error
    if unordered is not None:
        raise CurationError(f"{unordered!r} has no rank (None or NaN): give each thing one, the least of what stays")
    return best_first


def _has_no_order(rank: Any) -> bool:
    """Tells whether a rank, or a part of one, is None or NaN: what comes first would depend on the order of the
    input."""
    return any(map(_has_no_order, rank)) if isinstance(rank, (tuple, list)) else rank is None or bool(rank != rank)


def _relation(kind: str, pairs: list[tuple[int, int, float]], count: int) -> Relation:
    """Pairs, the index of each in the place of its distance, which may be NaN: for `keepers` that is no pair."""
    one, other = (np.array(column) for column in zip(*(pair[:2] for pair in pairs), strict=True))
    everything = np.arange(count, dtype=np.int32)
    return Relation(kind, everything, listed(count, one, other, np.arange(len(pairs))), NothingElse(), np.nan)
