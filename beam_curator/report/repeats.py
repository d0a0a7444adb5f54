"""The texts of a column that come most often, exactly, of any number of texts: in two passes and bounded memory.

The first pass counts hashes in a fixed number of buckets: no text comes more often than its bucket is full. The second
counts the texts of the fullest buckets. A text that comes more often than any bucket beside these is full is among
them; only such are told.
"""

from __future__ import annotations

import collections
import functools
import itertools
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from beam_curator import rows
from beam_curator.report.accumulators import Accumulator
from beam_curator.report.view import View

BUCKETS = 1 << 21
"""A power of two."""

COUNTED = 64
"""So many of the fullest buckets are looked into."""

SHOWN = 15
LONGEST = 120
"""So many texts are told, and so many characters of each."""

_PENDING = 1 << 20
"""So many texts are gathered before they are counted."""

_FEW = 1 << 16
"""So many texts take less memory by their buckets than by a count for each bucket."""

_LEVELS = 1 << 16
"""So many counts of buckets are told apart before they are sorted."""

_MANY = 0.05
"""The texts for each bucket from which on as many as chance brings together are not looked into."""


def repeated_columns(schema: pa.Schema) -> list[str]:
    """The columns whose commonest texts are told: the caption, and domains that samples brought with them."""
    names = [
        field.name
        for field in schema
        if rows.role_of(field) == rows.CARRIED and field.name.endswith("domain") and pa.types.is_string(field.type)
    ]
    return [*(["caption"] if "caption" in schema.names else []), *names]


class Buckets(Accumulator):
    """The first pass over one column. Of few texts it holds the bucket of each, of more a count for each bucket."""

    def __init__(self) -> None:
        self._counts: NDArray[np.uint32] | None = None
        self._pending: list[NDArray[np.uint32]] = []

    def add(self, view: View, column: str) -> None:
        """Counts some more rows."""
        _, texts = _there(view, column)
        self._pending.append(bucket_of(texts))
        if sum(map(len, self._pending)) >= _PENDING:
            self.settle()

    def merge(self, other: Buckets) -> None:
        """Adds what another one has counted."""
        self._pending += other._pending
        if other._counts is not None:
            self._counts = other._counts if self._counts is None else self._counts + other._counts
        self.settle()

    def settle(self) -> None:
        if self._counts is None and sum(map(len, self._pending)) < _FEW:
            self._pending = [np.sort(np.concatenate([np.empty(0, np.uint32), *self._pending]))]
        else:
            self._counts, self._pending = self._all_counts(), []

    def _all_counts(self) -> NDArray[np.uint32]:
        """Adds what is pending to the count of each bucket."""
        counts = np.zeros(BUCKETS, np.uint32) if self._counts is None else self._counts
        for buckets in self._pending:
            np.add.at(counts, buckets, np.uint32(1))  # 1 of another type takes ten times as long
        return counts

    def fullest(self) -> Repeats | None:
        """Makes what counts the texts of the fullest buckets; None of many texts of which none stands out."""
        self.settle()
        counts = self._all_counts()
        mean = int(counts.sum()) / BUCKETS
        if mean > _MANY and counts.max() <= mean + 8 * math.sqrt(mean) + 8:
            return None
        levels = np.bincount(np.minimum(counts[counts > 0], _LEVELS))
        least = np.count_nonzero(np.cumsum(levels[::-1])[::-1] > COUNTED) - 1  # more buckets than these are as full
        full = np.flatnonzero(counts >= max(1, least))
        there = full[np.argsort(-counts[full].astype(np.int64), kind="stable")][: COUNTED + 1]
        beside = int(counts[there[COUNTED]]) if len(there) > COUNTED else 0
        return Repeats(np.sort(there[:COUNTED]).astype(np.uint32), beside)


class Repeats(Accumulator):
    """The second pass over one column: counts the texts of some buckets; no text of others comes more often than
    `beside`."""

    def __init__(self, buckets: NDArray[np.uint32], beside: int) -> None:
        self._is_counted = np.zeros(BUCKETS, bool)
        self._is_counted[buckets] = True
        self._beside = beside
        self._counts: collections.Counter[str] = collections.Counter()

    def add(self, view: View, column: str) -> None:
        """Counts some more rows."""
        _, texts = _there(view, column)
        inside = np.flatnonzero(self._is_counted[bucket_of(texts)])
        found, counts = pc.value_counts(texts.take(pa.array(inside))).flatten()
        for text, count in zip(found.to_pylist(), counts.to_pylist(), strict=True):
            self._counts[text] += count

    def merge(self, other: Repeats) -> None:
        """Adds what another one has counted in the same buckets."""
        self._counts.update(other._counts)

    def as_json(self) -> list[dict[str, Any]]:
        """The texts that come most often, and at least twice."""
        common = sorted(self._counts.items(), key=lambda one: (-one[1], one[0]))[:SHOWN]
        return [
            {"text": text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}\u2026", "samples": count}
            for text, count in common
            if count > 1 and count >= self._beside
        ]


def _there(view: View, column: str) -> tuple[NDArray[np.bool_], pa.Array]:
    """Finds the rows that have a text and did not fail, bool [n], and these texts."""
    if column not in view.table.schema.names:
        return np.zeros(len(view), bool), pa.array([], pa.string())
    texts = view.table[column].combine_chunks()
    there = np.asarray(texts.is_valid()) & ~view.failed
    return there, texts if len(there) and there.all() else texts.filter(pa.array(there))


def bucket_of(texts: pa.Array) -> NDArray[np.uint32]:
    """The bucket of each of n texts, by a hash of all its bytes: uint32 [n]."""
    firsts = np.unique(_offsets(texts)[:-1] // _BYTES_AT_ONCE, return_index=True)[1].tolist()
    slices = [texts.slice(first, last - first) for first, last in itertools.pairwise([*firsts, len(texts)])]
    return np.concatenate([np.empty(0, np.uint32), *map(_bucket_of, slices)])


def _offsets(texts: pa.Array) -> NDArray[np.int64]:
    """Gives the offsets at which n texts begin, and at which the last one ends: int64 [n + 1]."""
    return np.frombuffer(texts.buffers()[1], np.int32)[texts.offset :][: len(texts) + 1].astype(np.int64)


_BYTES_AT_ONCE = 1 << 17
_BASE = 0x5851F42D4C957F2D
_INVERSE = pow(_BASE, -1, 1 << 64)


def _bucket_of(texts: pa.Array) -> NDArray[np.uint32]:
    """A polynomial of each text's bytes, from sums over all of them: what comes before a text is taken out again."""
    ends, data = _offsets(texts), texts.buffers()[2]
    raw = np.frombuffer(data, np.uint8)[ends[0] : ends[-1]] if ends[-1] > ends[0] else np.empty(0, np.uint8)
    ends = ends - ends[0]
    sums = np.zeros(len(raw) + 1, np.uint64)
    np.add(raw, np.uint64(1), out=sums[1:])
    sums[1:] *= _powers(_BASE, len(raw))
    np.cumsum(sums[1:], out=sums[1:])
    mixed = (sums[ends[1:]] - sums[ends[:-1]]) * _powers(_INVERSE, len(raw) + 1)[ends[:-1]]
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return ((mixed ^ (mixed >> np.uint64(32))) & np.uint64(BUCKETS - 1)).astype(np.uint32)


def _powers(base: int, count: int) -> NDArray[np.uint64]:
    """1, base, base squared and so on, modulo 2^64."""
    size = 1 << max(count - 1, _BYTES_AT_ONCE).bit_length()  # of nearly all texts one table for each base
    return _power_table(base, size)[:count]


@functools.lru_cache(maxsize=4)
def _power_table(base: int, size: int) -> NDArray[np.uint64]:
    table = np.full(size, base, np.uint64)
    table[0] = 1
    return np.multiply.accumulate(table)
