"""The rows of the ledger, file after file in the order of their names: few files are in memory at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from beam_curator.errors import JobError
from beam_curator.output.ledger import LEDGER_DIRECTORY
from beam_curator.report.columns import is_ledger
from beam_curator.storage import files
from beam_curator.storage.read_ahead import prefetched

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
          JobError: for one that is damaged.
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


def ledger_files(output: str) -> LedgerFiles:
    """The ledger in an output directory.

    Raises:
      StorageError: when it cannot be listed, after retries.
    """
    found = files.list_files(files.join(output, LEDGER_DIRECTORY), "*.parquet")
    return LedgerFiles(output, sorted(one.path for one in found))


def read_rows(url: str, wanted: Callable[[pa.Schema], Sequence[str]]) -> pa.Table | None:
    """Columns of a file of the ledger; None for a file that is none.

    Raises:
      StorageError: when it cannot be read, after retries.
      JobError: when it is damaged.
    """
    content = files.read_bytes(url)
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        if not is_ledger(file.schema_arrow):
            return None
        names = set(wanted(file.schema_arrow))
        there = [name for name in file.schema_arrow.names if name in names]
        return file.read(columns=there, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise JobError(f"{url} is damaged ({files.first_line(error)}): run the job again, which mends it") from error
