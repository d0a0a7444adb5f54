"""What a Parquet file claims to hold, against what it can: before memory is taken for it, and before it is planned."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

MAX_RUN_ROWS = 1 << 17
"""So many rows any file may have, and one run of rows: as many as there are samples in 64 MiB of a tar, at most."""

MAX_EXPANSION_BYTES = 1 << 30
"""So much more than a file says may its rows take in memory. They do where few bytes stand for many."""

_MAX_VALUES, _ROWS_AT_ONCE = 1 << 20, 1 << 16

MOST_EXPANSION = 1000
"""So many times its own size a file may claim to hold: else it would be cut into ever so many runs."""


def false_claim(metadata: pq.FileMetaData, size_bytes: int) -> str | None:
    """What a file of this size cannot hold, and claims to; None where it claims nothing of the kind.

    Of rows, no more than a file has bytes; of a column's values, lists among them, no more than it has bits.
    """
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    rows = [group.num_rows for group in groups]
    if min(rows, default=0) < 0 or sum(rows) > max(size_bytes, MAX_RUN_ROWS):
        return f"it claims {sum(rows):,} rows in {size_bytes:,} bytes"
    values = [group.column(column).num_values for group in groups for column in range(group.num_columns)]
    if min(values, default=0) < 0 or max(values, default=0) > max(8 * size_bytes, _MAX_VALUES):
        return f"it claims {max(values):,} values of a column in {size_bytes:,} bytes"
    return None


def claimed_bytes(group: pq.RowGroupMetaData, size_bytes: int) -> int:
    """How many bytes a row group claims to hold, as far as a file of this size can be believed."""
    return max(0, min(group.total_byte_size, MOST_EXPANSION * size_bytes))


def decoded_bytes(column: pa.Array) -> int:
    """How many bytes the values of a column take; as numbers of a dictionary they would hide them."""
    return int((column.dictionary_decode() if pa.types.is_dictionary(column.type) else column).nbytes)


def whole_table(parquet: pq.ParquetFile, size_bytes: int) -> pa.Table:
    """All rows of a file, decoded so few at a time that they take a GiB where its largest column has one value alone.

    Raises:
      ValueError: where they take a GiB more than the file says.
    """
    groups = [parquet.metadata.row_group(index) for index in range(parquet.metadata.num_row_groups)]
    bytes_left = MAX_EXPANSION_BYTES + sum(claimed_bytes(group, size_bytes) for group in groups)
    columns = [group.column(column) for group in groups for column in range(group.num_columns)]
    largest = max((column.total_uncompressed_size for column in columns), default=0)
    rows = max(1, min(_ROWS_AT_ONCE, (1 << 30) // max(1, largest)))
    batches = []
    for batch in parquet.iter_batches(rows):
        bytes_left -= sum(map(decoded_bytes, batch.columns))
        if bytes_left < 0:
            raise ValueError(f"it expands to {MAX_EXPANSION_BYTES} bytes more than it says")
        batches.append(batch)
    return pa.Table.from_batches(batches, parquet.schema_arrow)


def rows_one_by_one(parquet: pq.ParquetFile, **which: object) -> Iterator[dict[str, pa.Array]]:
    """The columns of each row, which is decoded by itself: a value that a file holds once may be that of all its rows.
    It costs 30 us a row more than many at once.

    Args:
      parquet: of what file.
      which: what `iter_batches` takes: row groups, columns.
    """
    for batch in parquet.iter_batches(1, use_threads=False, **which):
        if batch.num_rows:
            yield dict(zip(batch.schema.names, batch.columns, strict=True))
