"""Gathers, for each sample, what decides whether it is a duplicate, and which one stays: some hundred bytes."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from beam_curator import rows
from beam_curator.defaults import BY_PLACE
from beam_curator.duplicates.arrow_columns import codes_of, one_array
from beam_curator.duplicates.hashes import Hashes, hashes_of
from beam_curator.duplicates.keepers import numbered
from beam_curator.duplicates.order import SORT_KEYS, best_first
from beam_curator.duplicates.scratch import laid_aside, pieces_of
from beam_curator.duplicates.settings import EXACT, IMAGE_AND_CAPTION, PERCEPTUAL, DuplicateSettings
from beam_curator.errors import JobError

CAPTION_ID = "caption_id"
CONTENT_ID = "content_id"
HASHES = ("phash256", "texture", "colours", "phash256_cropped", "phash256_clipped")
"""The facts by which perceptual duplicates are told."""

_AT_A_TIME = 1 << 16
"""Rows whose hashes are objects of Python: 0.5 KB each."""


@dataclasses.dataclass(frozen=True)
class Competitors:
    """The samples of one range.

    Attributes:
      range: the name of their range.
      url, start: where it is in the input, which orders ranges.
      part: the score part that has their embeddings, or "" for none.
      table: n rows with `sample_id`, `competes` (whether rules keep it), and what the settings need.
    """

    range: str
    url: str
    start: int
    part: str
    table: pa.Table


def competitors_in(table: pa.Table, settings: DuplicateSettings) -> pa.Table:
    """The columns of `Competitors.table`.

    Args:
      table: n rows as batches and the ledger have them.
      settings: what is needed.
    """
    area = pc.multiply(table["width"].cast(pa.int64()), table["height"].cast(pa.int64()))
    columns: dict[str, Any] = {
        "sample_id": table["sample_id"],
        "competes": pc.equal(table["status"], rows.KEPT),
        "area": area,
        "bytes": table["bytes"],
    }
    for name, _ in SORT_KEYS[settings.keep]:
        if name in ("aesthetic", "similarity") and name in table.schema.names:
            columns[name] = _score(table[name])
    for name in HASHES if PERCEPTUAL in settings.kinds else ():
        if name in table.schema.names:
            columns[name] = table[name]
    if EXACT in settings.kinds and "sha256" in table.schema.names:
        columns[CONTENT_ID] = pa.array(map(_content_id, table["sha256"].to_pylist()), pa.binary(32))
    if settings.by == IMAGE_AND_CAPTION:
        columns[CAPTION_ID] = pa.array(map(_caption_id, table["caption"].to_pylist()), pa.binary(8))
    return pa.table(columns)


def _score(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    """A score as numbers, of flags 0 and 1, of text null: outputs that are compared may have two kinds of one name."""
    return pa.nulls(len(column), pa.float32()) if column.type == pa.string() else column.cast(pa.float32())


def _content_id(sha256: str | None) -> bytes | None:
    """The bytes of a digest, which are half as long as its text. A damaged ledger may have any other text."""
    if sha256 is None:
        return None
    try:
        digest = bytes.fromhex(sha256)
    except ValueError:
        digest = b""
    return digest if len(digest) == 32 else hashlib.sha256(sha256.encode("utf-8", "surrogatepass")).digest()


def _caption_id(caption: str | None) -> bytes:
    return hashlib.sha256((caption or "").strip().encode("utf-8", "surrogatepass")).digest()[:8]


def in_order(ranges: Sequence[Competitors]) -> list[Competitors]:
    """Ranges in the order of the input."""
    return sorted(ranges, key=lambda one: (one.url, one.start))


@dataclasses.dataclass(frozen=True)
class Samples:
    """All samples that are compared, those of other outputs first.

    Attributes:
      ranges: theirs, whose tables have no columns any more.
      table: n rows: those of `Competitors`, with `set` (which one of the outputs), without what the other attributes
        tell.
      order: int64 [n], from the best to the last.
      competes: bool [n], samples of the job's own that may stay or go.
      base: bool [n], samples of other outputs, which stay.
      own: bool [n], samples of the job's own.
      groups: int32 [n], of samples with the same caption; None where that makes no difference.
    """

    ranges: Sequence[Competitors]
    table: pa.Table
    order: NDArray[np.int64]
    competes: NDArray[np.bool_]
    base: NDArray[np.bool_]
    own: NDArray[np.bool_]
    groups: NDArray[np.int32] | None

    @property
    def sizes(self) -> list[int]:
        """The number of samples of each range."""
        return [len(one.table) for one in self.ranges]

    @property
    def starts(self) -> NDArray[np.int64]:
        """The numbers of the samples with which ranges begin, and the number of all."""
        return np.concatenate([[0], np.cumsum(self.sizes)]).astype(np.int64)

    @property
    def stays(self) -> NDArray[np.bool_]:
        """The samples that compete, or stay whatever competes: bool [n]."""
        return self.competes | self.base

    def base_classes(self, classes: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Tells which classes have no sample of the job's own: bool, by number."""
        own = np.zeros(int(classes.max(initial=-1)) + 1, bool)
        own[classes[(classes >= 0) & self.own]] = True
        return ~own


def samples_of(sets: Sequence[Sequence[Competitors]], settings: DuplicateSettings) -> Samples:
    """The samples of some outputs; the last is the job's own. What is not looked at any more is left out."""
    tables, ranges = [], []
    for index, of_set in enumerate(map(in_order, sets)):
        place = 0
        for one in of_set:
            table = one.table.append_column("set", pa.array(np.full(len(one.table), index, np.int32)))
            if settings.keep == BY_PLACE:
                table = table.append_column("place", pa.array(np.arange(place, place + len(one.table))))
            tables.append(table)
            place += len(one.table)
        ranges += [dataclasses.replace(one, table=one.table.select([])) for one in of_set]
    together = pa.concat_tables(tables, promote_options="default")  # as it lies: it would be there twice
    order = laid_aside([best_first(together, settings.keep)], np.int64)
    other = np.asarray(pc.less(together["set"], len(sets) - 1).to_numpy())
    kept = np.asarray(together["competes"].to_numpy())
    groups = codes_of(together[CAPTION_ID]) if settings.by == IMAGE_AND_CAPTION else None
    done = {CAPTION_ID, "competes", *(name for name, _ in SORT_KEYS[settings.keep])} - {"sample_id"}
    rest = together.select([name for name in together.schema.names if name not in done])
    return Samples(ranges, rest, order, kept & ~other, kept & other, ~other, groups)


@dataclasses.dataclass(frozen=True)
class Classes:
    """Distinct things, numbered by rank (see `edges`).

    Attributes:
      of_samples: int32 [n], the class of each sample; -1 for none.
      row: int64 [classes], the best sample of each.
      ids: of each.
    """

    of_samples: NDArray[np.int32]
    row: NDArray[np.int64]
    ids: pa.Array

    def __len__(self) -> int:
        return len(self.row)


def classes_of(order: NDArray[np.int64], ids: pa.Array | pa.ChunkedArray) -> Classes:
    """The classes of samples with equal ids.

    Args:
      order: int64 [n], from the best to the last.
      ids: n of them, null for samples that have none.
    """
    codes = codes_of(ids)
    of_samples = numbered(codes, codes >= 0, order)
    del codes
    row = laid_aside(_best_of_each(of_samples, order), np.int64)
    return Classes(of_samples, row, _some_of(ids, row))


def _best_of_each(of_samples: NDArray[np.int32], order: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    highest = np.int32(-1)
    for ranked in pieces_of(order):
        so_far = np.maximum.accumulate(np.append(highest, of_samples[ranked]))
        yield ranked[np.diff(so_far) > 0]  # a new class is the highest yet
        highest = so_far[-1]


def _some_of(ids: pa.Array | pa.ChunkedArray, row: NDArray[np.int64]) -> pa.Array:
    """Takes the ids of some rows; of one length, such as digests, they lie in a temporary file where they are many."""
    if not pa.types.is_fixed_size_binary(ids.type):
        return ids.take(pa.array(row))
    values = one_array(ids)
    found = laid_aside((values[rows] for rows in pieces_of(row)), values.dtype)
    return pa.FixedSizeBinaryArray.from_buffers(ids.type, len(row), [None, pa.py_buffer(found.view(np.uint8))])


def hashes_in(table: pa.Table) -> tuple[Hashes, pa.Array]:
    """The perceptual hashes of samples, and an id of each, 32 bytes: null for those without hashes, or with too little
    texture.

    Args:
      table: n rows; a column that is not there is null.

    Raises:
      JobError: for hashes that are none: what they were read from is damaged.
    """
    starts = range(0, max(len(table), 1), _AT_A_TIME)
    hashes, ids = zip(*(_hashes_in(table.slice(start, _AT_A_TIME)) for start in starts), strict=True)
    return Hashes.together(hashes), pa.concat_arrays(ids)


def _hashes_in(table: pa.Table) -> tuple[Hashes, pa.Array]:
    nothing = [None] * len(table)
    facts = [table[name].to_pylist() if name in table.schema.names else nothing for name in HASHES]
    try:
        hashes, there = hashes_of(*facts)
    except ValueError as error:
        raise JobError(f"samples have hashes ({', '.join(HASHES)}) that are none: {error}") from error
    ids = [hashlib.sha256(one).digest() for one in hashes.ids.tolist()]
    return hashes, pa.array(ids, pa.binary(32), mask=~there)
