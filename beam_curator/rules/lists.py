"""Lists of samples that stay or go: by sample_id, the input's own uid, key, sha256 or phash."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from beam_curator import rows
from beam_curator.errors import JobError
from beam_curator.rule_tally import RuleTally

COLUMNS = ("sample_id", "uid", "key", "sha256", "phash")
"""What a list may be of; `uid` is that of the input, as DataComp's downloads have it."""

_UID_COLUMNS = ("uid", "json.uid")
"""Where the rows have an input's own uid: the first that is there."""

ID = np.dtype("S16")


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
    def name(self) -> str:
        """The reason in the ledger for what it drops."""
        return f"{self.column} is {'not ' if self.allows else ''}in {self.path.rsplit('/', 1)[-1]}"

    @property
    def buckets(self) -> int:
        """In how many parts it is compared: about a million entries each."""
        return max(1, self.entries // 1_000_000)


def ids_of(values: Sequence[str]) -> np.ndarray:
    """16 bytes of each text, other ones for each other text: S16 [n]."""
    digests = [hashlib.blake2b(value.encode("utf-8", "surrogatepass"), digest_size=16).digest() for value in values]
    return np.array(digests, ID) if digests else np.empty(0, ID)


def in_buckets(ids: np.ndarray, buckets: int) -> Iterator[tuple[int, np.ndarray]]:
    """Which of these (indices) fall in each bucket; those that nothing falls in are left out."""
    if buckets == 1:
        if len(ids):
            yield 0, np.arange(len(ids))
        return
    first = np.ascontiguousarray(ids).view(np.uint64)[::2] % np.uint64(buckets)
    for bucket in np.unique(first).tolist():
        yield int(bucket), np.flatnonzero(first == bucket)


def listed_column(table: pa.Table, one: ListFile) -> str:
    """The column of these rows that a list is of.

    Raises:
      JobError: where the samples have no such column.
    """
    wanted = _UID_COLUMNS if one.column == "uid" else (one.column,)
    for name in wanted:
        if name in table.schema.names:
            return name
    raise JobError(
        f"{one.path} lists values of {one.column}, which the samples do not have: a uid is that of the input's own "
        f"json; a list of our own ids is of sample_id (there are {', '.join(table.schema.names)})"
    )


def candidates(table: pa.Table, one: ListFile) -> tuple[np.ndarray, np.ndarray]:
    """The kept rows that have a value in the column that a list is of, by their indices, and the ids of these values.

    Raises:
      JobError: where the samples have no such column.
    """
    values = table[listed_column(table, one)].to_pylist()
    is_kept = rows.status_is(table, rows.KEPT)
    indices = np.array([i for i, value in enumerate(values) if is_kept[i] and value is not None], np.int64)
    return indices, ids_of([values[index] for index in indices])


def apply_lists(
    table: pa.Table, lists: Sequence[ListFile], found: Mapping[int, np.ndarray]
) -> tuple[pa.Table, dict[str, RuleTally]]:
    """The rows with those dropped that lists drop, and how each list fared.

    Args:
      table: n rows.
      lists: in the order in which they are tried.
      found: the indices of the rows that are in a list, by the list's place.
    """
    status = np.asarray(table["status"].to_pylist(), dtype=object)
    reason = np.asarray(table["reason"].to_pylist(), dtype=object)
    tallies: dict[str, RuleTally] = {}
    for place, one in enumerate(lists):
        undecided = status == rows.KEPT
        is_in = np.zeros(len(table), bool)
        is_in[found.get(place, [])] = True
        dropped = undecided & (~is_in if one.allows else is_in)
        status[dropped], reason[dropped] = rows.DROPPED, one.name
        nothing = np.asarray(table[listed_column(table, one)].is_null())
        reason[dropped & nothing] = f"no {one.column}"
        tally = RuleTally(int(undecided.sum()), dropped=int(dropped.sum()), alone=None)
        tallies[one.name] = tallies.get(one.name, RuleTally(alone=None)) + tally
    return rows.with_column(rows.with_column(table, "status", status), "reason", reason), tallies
