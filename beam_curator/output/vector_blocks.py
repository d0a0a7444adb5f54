"""Vectors in the order of their cells: what a join puts into `edges/` while it goes on, so that whoever compares a cell
reads what is in it, and nothing else.

A block has the vectors of some score parts, as often as they are in a cell: a row for each, with the cell, the rank,
flags, and the float16 numbers. Blocks are Parquet files; those of a group of cells are a run of rows in each.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from beam_curator.duplicates.semantic import Indices, Members
from beam_curator.duplicates.vectors import Vectors
from beam_curator.output.edge_store import block_metadata, if_whole
from beam_curator.storage import files
from beam_curator.storage.retrying import retried

RESIDENT, KNOWN, BASE = 1, 2, 4
"""The bits of a row's flags."""

_ROWS_AT_A_TIME = 1024
"""The rows that are read or written at once: 1.5 MB of 768 numbers."""


@dataclasses.dataclass(frozen=True)
class BlockCounts:
    """The number of vectors that a block has in each cell.

    Attributes:
      index: which block.
      digest: what tells who is in which cell, 16 hex digits. Another processor rounds centres otherwise: what was found
        with other members does not fit together with what is found with these.
      residents, guests: int32 [cells].
    """

    index: int
    digest: str
    residents: NDArray[np.int32]
    guests: NDArray[np.int32]

    @classmethod
    def of(cls, index: int, members: Members, cells: int) -> BlockCounts:
        """Counts these members."""
        told = hashlib.sha256()
        rank, cell, resident = members.rank, members.cell, members.resident
        for array in (rank, cell, resident):
            told.update(array.view(np.uint8).data)
        counts = [np.bincount(cell[which], minlength=cells) for which in (resident, ~resident)]
        residents, guests = (count.astype(np.int32) for count in counts)
        return cls(index, told.hexdigest()[:16], residents, guests)


@dataclasses.dataclass(frozen=True)
class BlockRows:
    """Rows of a block.

    Attributes:
      members: who they are, and where.
      known, base: bool [m], as `semantic.Meeting` has them.
      vectors: float16 [m, dim].
    """

    members: Members
    known: NDArray[np.bool_]
    base: NDArray[np.bool_]
    vectors: Vectors


@retried
def write_block(
    output: str, name: str, members: Members, flags: NDArray[np.uint8], vectors: Callable[[slice], Vectors], dim: int
) -> None:
    """Writes a block, which is there as a whole or not at all.

    Args:
      output, name: where.
      members: m of them.
      flags: uint8 [m], `KNOWN` and `BASE`.
      vectors: gives those of some members.
      dim: how many numbers each has.

    Raises:
      StorageError: when it cannot be written, after retries.
    """
    types = {"cell": pa.int32(), "rank": pa.int32(), "flags": pa.uint8(), "vector": pa.binary(2 * dim)}
    schema = pa.schema(types, metadata=block_metadata())
    rank, cell = members.rank, members.cell
    all_flags = flags | np.where(members.resident, RESIDENT, 0).astype(np.uint8)
    with (
        files.atomic_writer(output, name) as file,
        pq.ParquetWriter(file, schema, compression="none", use_dictionary=False, write_statistics=False) as writer,
    ):
        for start in range(0, len(members), _ROWS_AT_A_TIME):
            some = slice(start, start + _ROWS_AT_A_TIME)
            content = np.ascontiguousarray(vectors(some), "<f2")
            binary = pa.FixedSizeBinaryArray.from_buffers(
                types["vector"], len(content), [None, pa.py_buffer(content.tobytes())]
            )
            columns = [cell[some], rank[some], all_flags[some], binary]
            writer.write_table(pa.table(columns, schema=schema))


def read_counts(path: str, index: int, cells: int, ranks: Indices) -> BlockCounts | None:
    """Counts the vectors in each cell of a block that was written before; None if there is no such whole block.

    Args:
      path, index: of the block.
      cells: how many there are.
      ranks: who has to be in it, ascending: a copy that is new in the input may have taken the place of another one.

    Raises:
      StorageError: when it is there and cannot be read, after retries.
    """
    members = if_whole(lambda: _members(_read(path, None, ["cell", "rank", "flags"])))
    is_meant = members is not None and np.array_equal(np.sort(members.rank[members.resident]), ranks)
    return BlockCounts.of(index, members, cells) if members is not None and is_meant else None


def read_rows(path: str, start: int, end: int) -> BlockRows:
    """The rows of a block from one place to before another.

    Raises:
      StorageError: when it cannot be read, after retries.
    """
    table = _read(path, (start, end), None)
    content = table["vector"].combine_chunks()
    dim = content.type.byte_width // 2
    vectors = np.frombuffer(content.buffers()[1], "<f2").reshape(-1, dim)[content.offset : content.offset + len(table)]
    flags = table["flags"].to_numpy()
    return BlockRows(_members(table), flags & KNOWN > 0, flags & BASE > 0, vectors)


@retried
def _read(path: str, rows: tuple[int, int] | None, columns: list[str] | None) -> pa.Table:
    with files.open_for_reading(path) as file:
        parquet = pq.ParquetFile(file, pre_buffer=True)
        if rows is None:
            return parquet.read(columns)
        first, last = rows[0] // _ROWS_AT_A_TIME, (rows[1] - 1) // _ROWS_AT_A_TIME
        table = parquet.read_row_groups(range(first, last + 1), columns)
    return table.slice(rows[0] - first * _ROWS_AT_A_TIME, rows[1] - rows[0])


def _members(table: pa.Table) -> Members:
    resident = table["flags"].to_numpy() & RESIDENT > 0
    return Members.of(table["rank"].to_numpy(), table["cell"].to_numpy(), resident)
