"""The rows of the ledger, file after file in the order of their names: few files are in memory at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from beam_curator.output.belonging import ledger_files
from beam_curator.output.column_names import from_files, schema_from_files
from beam_curator.report.columns import is_ledger
from beam_curator.storage import files
from beam_curator.storage.read_ahead import prefetched

_REPEATING = ["shard", "status", "reason", "format"]
"""Columns that are decoded to numbers of a few texts, not to a text for each row."""

_AT_ONCE = 3
_REMOTE_AT_ONCE = 16


@dataclasses.dataclass(frozen=True)
class LedgerFiles:
    """The files of a finished job's ledger.

    Attributes:
      output: the output directory.
      urls: theirs, in the order of their names.
    """

    output: str
    urls: Sequence[str]

    def tables(self, wanted: Callable[[pa.Schema], Sequence[str]]) -> Iterator[tuple[int, pa.Table]]:
        """Each file's place among all, and its rows, in order.

        Args:
          wanted: the columns to read, given what a file has: an older release's may lack some.

        Raises:
          StorageError: when one cannot be read, after retries.
        """

        def read(url: str) -> pa.Table | None:
            return read_rows(url, wanted)

        yield from (
            (place, table)
            for place, table in enumerate(prefetched(read, self.urls, self._at_once))
            if table is not None
        )

    @property
    def _at_once(self) -> int:
        return _REMOTE_AT_ONCE if files.is_remote(self.output) else _AT_ONCE


def files_of_ledger(output: str) -> LedgerFiles:
    """The ledger in an output directory.

    Raises:
      StorageError: when it cannot be listed, after retries.
    """
    return LedgerFiles(output, ledger_files(output))


def read_rows(url: str, wanted: Callable[[pa.Schema], Sequence[str]]) -> pa.Table | None:
    """Columns of a file of the ledger; None for a file that is none, or is damaged: counts tell that it is missing.

    Raises:
      StorageError: when it cannot be read, after retries.
    """
    content = files.read_bytes(url)
    try:
        file = pq.ParquetFile(pa.BufferReader(content), read_dictionary=_REPEATING)
        schema = schema_from_files(file.schema_arrow)
        if not is_ledger(schema):
            return None
        names = set(wanted(schema))
        there = [stored for stored, name in zip(file.schema_arrow.names, schema.names, strict=True) if name in names]
        return from_files(file.read(columns=there, use_threads=False))
    except (pa.ArrowException, OSError):
        return None
