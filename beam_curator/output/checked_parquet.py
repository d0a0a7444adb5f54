"""Parquet files of what was computed: each page has a checksum, by which a byte that has changed since is found out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from beam_curator.errors import StorageError, first_line


def encoded(table: pa.Table, in_dictionaries: bool | Sequence[str] = True) -> bytes:
    """Rows as a file holds them.

    Args:
      table: the rows, and the file's metadata.
      in_dictionaries: the columns whose values repeat; True for all.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", use_dictionary=in_dictionaries, write_page_checksum=True)
    return sink.getvalue().to_pybytes()


def opened(content: bytes) -> pq.ParquetFile:
    """A file whose pages are compared with their checksums as they are read; those of earlier releases have none.

    Raises:
      OSError, ArrowException: when it is no Parquet, and of its `read` when a page is damaged.
    """
    return pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)


@contextlib.contextmanager
def told_if_damaged(url: str) -> Iterator[None]:
    """Says which file it is where reading one of a job's raises, and what mends it: trying again does not.

    Raises:
      StorageError: in place of what libraries raise.
    """
    try:
        yield
    except StorageError:
        raise
    except (OSError, pa.ArrowException, LookupError, TypeError, ValueError) as error:
        told = f"{url} is damaged ({first_line(error)}): remove it, and run its job again, which makes it anew"
        raise StorageError(told) from None
