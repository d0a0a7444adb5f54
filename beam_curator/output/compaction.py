"""The ledger in files of many ranges: each range's rows are written apart, and joined file by file in their order.

Rows do not go through a shuffle: what a worker has of a range it writes under `_tmp/`, named by its content, and
whoever joins them reads them one after the other. Which ranges a file holds, where its row groups end and what it is
called follow from the order of all ranges alone, so its bytes are the same for every runner, retry and resumption.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_curator.errors import JobError, StorageError, first_line
from beam_curator.output import ledger
from beam_curator.output.column_names import in_files, schema_in_files
from beam_curator.output.many_ranges import Contents, ManyRanges, RangeInFile, in_schema
from beam_curator.output.prefix_sums import RangeKey
from beam_curator.samples import ShardRange
from beam_curator.storage import files, urls
from beam_curator.storage.read_ahead import prefetched
from beam_curator.storage.retrying import is_absent, retried
from beam_curator.storage.temporary_names import TEMPORARY

ROWS_PER_GROUP = 1 << 16
"""A row group ends with the range by which it has so many rows."""

_PIECE = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
"""The encoding of a piece, which is there for a while only."""

_AHEAD = 8


class Piece(NamedTuple):
    """The rows of a range, on their way into a file of many.

    Attributes:
      place: how many ranges come before it in the whole job.
      key: what orders it.
      name: of the range.
      rows: how many it has.
      columns: 32 hex digits, of its columns.
      content: 32 hex digits, of its rows.
    """

    place: int
    key: RangeKey
    name: str
    rows: int
    columns: str
    content: str

    @property
    def path(self) -> str:
        """The path of the piece under the output directory, until it is joined."""
        return f"{TEMPORARY}/{self.name}.arrows.{self.content}"


def write_piece(output: str, range: ShardRange, place: int, table: pa.Table) -> Piece:
    """Writes the rows of a range where they wait to be joined.

    Raises:
      StorageError: when they cannot be written, after retries.
    """
    content = _encoded(in_files(table))
    columns = schema_in_files(table.schema).serialize().to_pybytes()
    piece = Piece(place, (range.url, range.start), range.name, len(table), _digest(columns), _digest(content))
    files.write_bytes(output, piece.path, content)
    return piece


def _encoded(table: pa.Table) -> bytes:
    """A stream of Arrow: it is written and read once, which of Parquet takes five to twenty times as long. The same
    rows are the same bytes, however they lie in memory."""
    fresh = table.take(np.arange(len(table))).combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, fresh.schema, options=_PIECE) as writer:
        writer.write_table(fresh)
    return sink.getvalue().to_pybytes()


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def join(output: str, index: int, pieces: Iterable[Piece]) -> str:
    """Writes the `index`-th file of many ranges, and removes the pieces; gives its name.

    Where this was done before, and perhaps not to its end, it is done again, or found done.

    Raises:
      JobError: when ranges have columns of one name and of types that no column can hold together.
      StorageError: when something cannot be read or written, after retries.
    """
    ordered = sorted(pieces)
    name = ledger.name_of_many(index)
    try:
        _write(output, name, ordered)
    except StorageError as error:
        if not (is_absent(error) and _stands(output, name, ordered)):
            raise
    files.delete([_url(output, piece) for piece in ordered])
    return name


def _url(output: str, piece: Piece) -> str:
    return urls.join(output, *piece.path.split("/"))


def _content(pieces: Sequence[Piece]) -> str:
    return _digest("\n".join(f"{piece.name} {piece.content}" for piece in pieces).encode())


def _stands(output: str, name: str, pieces: Sequence[Piece]) -> bool:
    """Tells whether the file of joined pieces is there with these rows: an earlier attempt has joined and removed
    them."""
    url = urls.join(output, *name.split("/"))
    try:
        return files.exists(url) and ManyRanges(url).contents.content == _content(pieces)
    except pa.ArrowException:
        return False


@retried
def _write(output: str, name: str, pieces: Sequence[Piece]) -> None:
    schemas = _schemas(output, pieces)
    numbers = {columns: number for number, columns in enumerate(schemas)}
    ranges = [RangeInFile(piece.name, piece.rows, numbers[piece.columns]) for piece in pieces]
    contents = Contents(pieces[0].key, ranges, list(schemas.values()), _content(pieces))
    schema = _together(schemas, pieces).with_metadata(contents.metadata)
    with (
        files.atomic_writer(output, name) as file,
        pq.ParquetWriter(file, schema, **ledger.PARQUET) as writer,
    ):
        for group in _groups(output, pieces, schema):
            writer.write_table(group, row_group_size=max(1, len(group)))


def _schemas(output: str, pieces: Sequence[Piece]) -> dict[str, pa.Schema]:
    """The different columns that pieces have, as they are called in files, in the order in which they come."""
    first: dict[str, Piece] = {}
    for piece in pieces:
        first.setdefault(piece.columns, piece)
    return {columns: pa.ipc.open_stream(_buffer(output, piece)).schema for columns, piece in first.items()}


def _together(schemas: dict[str, pa.Schema], pieces: Sequence[Piece]) -> pa.Schema:
    """The columns that hold what all of these do."""
    try:
        return pa.unify_schemas(list(schemas.values()), promote_options="permissive")
    except pa.ArrowException as error:
        raise _different_types(f"{pieces[0].name} to {pieces[-1].name}", error) from error


def _different_types(names: str, error: pa.ArrowException) -> JobError:
    return JobError(
        f"the ledger of {names} has columns of one name and of different types "
        f"({first_line(error)}): give them one type, or each range a file: --ranges_per_ledger_file 1"
    )


def _groups(output: str, pieces: Sequence[Piece], schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of pieces, those of a row group together."""
    waiting: list[pa.Table] = []
    for table in prefetched(lambda piece: _read(output, piece, schema), pieces, _ahead(output)):
        waiting.append(table)
        if sum(map(len, waiting)) >= ROWS_PER_GROUP:
            yield pa.concat_tables(waiting).combine_chunks()
            waiting.clear()
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()


def _ahead(output: str) -> int:
    return _AHEAD if urls.is_remote(output) else 0


def _read(output: str, piece: Piece, schema: pa.Schema) -> pa.Table:
    """The rows of a piece in the columns of all; null where it has none."""
    table = pa.ipc.open_stream(_buffer(output, piece)).read_all()
    try:
        return in_schema(table, schema)
    except pa.ArrowException as error:
        raise _different_types(piece.name, error) from error


def _buffer(output: str, piece: Piece) -> pa.BufferReader:
    return pa.BufferReader(files.read_bytes(_url(output, piece)))
