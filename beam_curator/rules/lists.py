"""Lists of samples that stay or go: by sample_id, key, sha256 or phash, or by uid or url, which samples say."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from beam_curator import rows
from beam_curator.field_names import PREFIX
from beam_curator.rule_tally import RuleTally

COLUMNS = ("sample_id", "uid", "key", "sha256", "phash", "url")
"""The columns that a list may be of; `uid` is that of the input, as DataComp's downloads have it."""

HEX_DIGITS = {"sha256": 64, "phash": 16}
"""The lengths of the entries of a list of what we compute ourselves."""

_OF_FIELDS = ("uid", "url")
_AS_IT_IS = ("sample_id", "key", "url")

_LEAST_BUCKETS = 16

ID = np.dtype("S16")

OF_BLOCK = re.compile(rf"({'|'.join(COLUMNS)}) is in ")
"""Matches the beginning of the reason for what a list drops that it names."""


@dataclasses.dataclass(frozen=True)
class ListFile:
    """A list of samples.

    Attributes:
      path: of the file, local or in a bucket.
      column: one of `COLUMNS`.
      allows: whether only samples in it stay; else they go.
      entries: about how many it has.
    """

    path: str
    column: str
    allows: bool
    entries: int = 0

    @property
    def row_column(self) -> str:
        """The column of the rows that it is compared with: uids and urls are those that the samples themselves say."""
        return f"{PREFIX}{self.column}" if self.column in _OF_FIELDS else self.column

    @property
    def name(self) -> str:
        """The reason in the ledger for what it drops."""
        return f"{self.column} is {'not ' if self.allows else ''}in {self.path.rsplit('/', 1)[-1]}"

    def comparable(self, values: Sequence[Any]) -> list[str | None]:
        """Values of its column, or its entries, as they are compared: hex digits in small letters."""
        plain = [None if value is None else str(value) for value in values]
        return plain if self.column in _AS_IT_IS else [value and value.lower() for value in plain]

    @property
    def buckets(self) -> int:
        """The number of parts in which the list is compared: about a million entries each; several for a short list as
        well, whose parts the samples fill."""
        return max(_LEAST_BUCKETS, self.entries // 1_000_000)


def ids_of(values: Sequence[str]) -> np.ndarray:
    """16 bytes of each text, other ones for each other text: S16 [n]."""
    digests = [hashlib.blake2b(value.encode("utf-8", "surrogatepass"), digest_size=16).digest() for value in values]
    return np.array(digests, ID) if digests else np.empty(0, ID)


def in_buckets(ids: np.ndarray, buckets: int) -> Iterator[tuple[int, np.ndarray]]:
    """Parts ids by bucket: yields each bucket with the indices of its ids; buckets without any are left out."""
    if buckets == 1:
        if len(ids):
            yield 0, np.arange(len(ids))
        return
    bucket = np.ascontiguousarray(ids).view(np.uint64)[::2] % np.uint64(buckets)
    order = np.argsort(bucket, kind="stable")
    there, starts = np.unique(bucket[order], return_index=True)
    yield from zip(there.tolist(), np.split(order, starts[1:]) if len(order) else (), strict=True)


def candidates(table: pa.Table, file: ListFile) -> tuple[np.ndarray, np.ndarray]:
    """The kept rows that have a value in the list's column, by their indices, and the ids of these values."""
    column = rows.column_of(table, file.row_column)
    indices = np.flatnonzero(rows.status_is(table, rows.KEPT) & np.asarray(column.is_valid()))
    return indices, ids_of([value for value in file.comparable(column.take(indices).to_pylist()) if value is not None])


def apply_lists(
    table: pa.Table, lists: Sequence[ListFile], listed: Mapping[int, np.ndarray]
) -> tuple[pa.Table, dict[str, RuleTally]]:
    """The rows with those dropped that lists drop, and how each list fared.

    Args:
      table: n rows.
      lists: in the order in which they are tried.
      listed: the indices of the rows that are in a list, by the list's place.
    """
    status = np.asarray(table["status"].to_pylist(), dtype=object)
    reason = np.asarray(table["reason"].to_pylist(), dtype=object)
    tallies: dict[str, RuleTally] = {}
    for place, file in enumerate(lists):
        undecided = status == rows.KEPT
        is_in = np.zeros(len(table), bool)
        is_in[listed.get(place, [])] = True
        dropped = undecided & (~is_in if file.allows else is_in)
        status[dropped], reason[dropped] = rows.DROPPED, file.name
        nothing = np.asarray(rows.column_of(table, file.row_column).is_null())
        reason[dropped & nothing] = f"no {file.row_column}"
        tally = RuleTally(int(undecided.sum()), dropped=int(dropped.sum()), alone=None)
        tallies[file.name] = tallies.get(file.name, RuleTally(alone=None)) + tally
    return rows.with_column(rows.with_column(table, "status", status), "reason", reason), tallies
