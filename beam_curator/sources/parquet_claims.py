"""What a Parquet file claims to hold, against what it can: before memory is taken for it, and before it is planned."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

MAX_RUN_ROWS = 1 << 17
"""So many rows any file may have, and one run of rows: as many as there are samples in 64 MiB of a tar, at most."""

_MAX_VALUES = 1 << 20

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
