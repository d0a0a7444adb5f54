"""Checks of what a Parquet file claims to hold, before memory is taken for it, and before it is planned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

MAX_RUN_ROWS = 1 << 17
"""So many rows any file may have, and one run of rows: as many as there are samples in 64 MiB of a tar, at most."""

MAX_EXPANSION_BYTES = 1 << 30
"""So much more than a file says may its rows take in memory. They do where few bytes stand for many."""

_MAX_VALUES, _ROWS_AT_ONCE, _ROWS_OF_A_DICTIONARY = 1 << 20, 1 << 16, 64

MOST_EXPANSION = 1000
"""So many times its own size a file may claim to hold: else it would be cut into ever so many runs."""


def false_claim(metadata: pq.FileMetaData, size_bytes: int) -> str | None:
    """Says what a file claims to hold and cannot at this size; None if it claims nothing of the kind.

    Of rows, no more than a file has bytes; of a column's values, lists among them, no more than it has bits.
    """
    groups = _groups(metadata)
    rows = [group.num_rows for group in groups]
    if min(rows, default=0) < 0 or sum(rows) > max(size_bytes, MAX_RUN_ROWS):
        return f"it claims {sum(rows):,} rows in {size_bytes:,} bytes"
    values = [group.column(column).num_values for group in groups for column in range(group.num_columns)]
    if min(values, default=0) < 0 or max(values, default=0) > max(8 * size_bytes, _MAX_VALUES):
        return f"it claims {max(values):,} values of a column in {size_bytes:,} bytes"
    return None


def claimed_bytes(group: pq.RowGroupMetaData, size_bytes: int) -> int:
    """Gives the bytes that a row group claims to hold, as far as a file of this size can be believed."""
    return max(0, min(group.total_byte_size, MOST_EXPANSION * size_bytes))


def decoded_bytes(column: pa.Array) -> int:
    """Counts the bytes that the values of a column take; as numbers of a dictionary they would hide them."""
    return int((column.dictionary_decode() if pa.types.is_dictionary(column.type) else column).nbytes)


def decoded(parquet: pq.ParquetFile, most_rows: int, most_bytes: int, claimed: int = 0) -> Iterator[pa.RecordBatch]:
    """Yields all rows of a file, some at a time: so few that they take a GiB where its largest column has one value
    alone.

    Args:
      parquet: the file.
      most_rows: at a time.
      most_bytes: how much more all rows may take in memory than the file claims.
      claimed: how much it claims, where it may be believed.

    Raises:
      ValueError: where they take more.
    """
    bytes_left = claimed + most_bytes
    for batch in parquet.iter_batches(_rows_in_a_gib(_groups(parquet.metadata), most_rows)):
        bytes_left -= sum(map(decoded_bytes, batch.columns))
        if bytes_left < 0:
            raise ValueError(f"it expands to {most_bytes} bytes more than it says")
        yield batch


def _groups(metadata: pq.FileMetaData) -> list[pq.RowGroupMetaData]:
    return [metadata.row_group(index) for index in range(metadata.num_row_groups)]


def _rows_in_a_gib(groups: Sequence[pq.RowGroupMetaData], most: int) -> int:
    columns = [group.column(column) for group in groups for column in range(group.num_columns)]
    largest = max((column.total_uncompressed_size for column in columns), default=0)
    return max(1, min(most, (1 << 30) // max(1, largest)))


def whole_table(parquet: pq.ParquetFile, size_bytes: int) -> pa.Table:
    """Reads all rows of a file.

    Raises:
      ValueError: where they take a GiB more than the file says.
    """
    claimed = sum(claimed_bytes(group, size_bytes) for group in _groups(parquet.metadata))
    batches = decoded(parquet, _ROWS_AT_ONCE, MAX_EXPANSION_BYTES, claimed)
    return pa.Table.from_batches(batches, parquet.schema_arrow)


def rows_one_by_one(
    parquet: pq.ParquetFile, again: pq.ParquetFile, group: int, names: Sequence[str]
) -> Iterator[dict[str, pa.Array]]:
    """The columns of each row, which is decoded by itself: a value that a file holds once may be that of all its rows.
    It costs 30 us a row more than many at once.

    A column that is read as numbers of a dictionary has each value once; but with each batch comes all of the
    dictionary, so that many rows of such columns are decoded together.

    Args:
      parquet: of what file.
      again: the same, opened again: one opening has one size of batches.
      group: which row group.
      names: of the columns.
    """
    numbered = {field.name for field in parquet.schema_arrow if pa.types.is_dictionary(field.type)}
    alone, numbers = ([name for name in names if (name in numbered) is wanted] for wanted in (False, True))
    reads = [_rows(parquet, group, alone, 1)] if alone else []
    if numbers:
        at_once = _rows_in_a_gib([again.metadata.row_group(group)], _ROWS_OF_A_DICTIONARY)
        reads.append(_rows(again, group, numbers, at_once))
    for parts in zip(*reads, strict=False):  # of a damaged column there may be fewer
        yield {name: column for part in parts for name, column in part.items()}


def _rows(parquet: pq.ParquetFile, group: int, names: Sequence[str], at_once: int) -> Iterator[dict[str, pa.Array]]:
    for batch in parquet.iter_batches(at_once, row_groups=[group], columns=names, use_threads=False):
        for row in range(batch.num_rows):
            one = batch.slice(row, 1) if batch.num_rows > 1 else batch
            yield dict(zip(one.schema.names, one.columns, strict=True))
