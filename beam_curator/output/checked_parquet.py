"""Parquet files of what was computed: each page has a checksum, and so has what the footer tells, by which a byte that
has changed since is found out."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from beam_curator.errors import StorageError, first_line

NOT_OURS = (pa.ArrowException, OSError, ValueError, LookupError, TypeError, AttributeError)
"""The errors that reading a file raises that is damaged, or another's."""

_SEAL = b"beam_curator_crc32"
_OF_PARQUET = b"PARQUET:"


def sealed(schema: pa.Schema) -> pa.Schema:
    """The schema with a checksum of its columns and of all metadata, as `check_seal` wants it."""
    return schema.with_metadata({_SEAL: _crc32(schema), **(schema.metadata or {})})  # first: a list that is cut has it


def check_seal(schema: pa.Schema) -> None:
    """Compares what the footer of a file tells with its checksum; files of earlier releases have none.

    Raises:
      ValueError: where it has changed.
    """
    said = (schema.metadata or {}).get(_SEAL)
    if said is not None and said != _crc32(schema):
        raise ValueError("its footer has changed")


def _crc32(schema: pa.Schema) -> bytes:
    """The CRC-32, as 8 hex digits."""
    columns = [(field.name.encode(), _kind(field.type), _pairs(field.metadata)) for field in schema]
    return b"%08x" % zlib.crc32(repr((columns, _pairs(schema.metadata))).encode())


_KINDS = {
    "text": pa.types.is_string,
    "bytes": pa.types.is_binary,
    "truth": pa.types.is_boolean,
    "unsigned": pa.types.is_unsigned_integer,
    "integer": pa.types.is_signed_integer,
    "number": pa.types.is_floating,
}


def _kind(type: pa.DataType) -> str:
    """Says what values of a type are: how Arrow writes types, and which it takes for the same, differs between
    releases."""
    if pa.types.is_dictionary(type):
        return _kind(type.value_type)
    if pa.types.is_list(type) or pa.types.is_fixed_size_list(type):
        return f"list of {_kind(type.value_type)}"
    if pa.types.is_struct(type):
        return f"struct of {[(field.name, _kind(field.type)) for field in type]}"
    return next((kind for kind, is_of_it in _KINDS.items() if is_of_it(type)), "other")


def _pairs(metadata: Mapping[bytes, bytes] | None) -> list[tuple[bytes, bytes]]:
    """Metadata in one order, without the checksum and what Parquet adds as it is read."""
    pairs = sorted((metadata or {}).items())
    return [(key, value) for key, value in pairs if key != _SEAL and not key.startswith(_OF_PARQUET)]


def encoded(table: pa.Table, in_dictionaries: bool | Sequence[str] = True) -> bytes:
    """Rows as a file holds them.

    Args:
      table: the rows, and the file's metadata.
      in_dictionaries: the columns whose values repeat; True for all.
    """
    table = table.replace_schema_metadata(sealed(table.schema).metadata)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", use_dictionary=in_dictionaries, write_page_checksum=True)
    return sink.getvalue().to_pybytes()


def opened(content: bytes) -> pq.ParquetFile:
    """A file whose pages are compared with their checksums as they are read; those of earlier releases have none.

    Raises:
      OSError, ArrowException: when it is no Parquet, and of its `read` when a page is damaged.
      ValueError: when what its footer tells has changed.
    """
    file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
    check_seal(file.schema_arrow)
    return file


def with_whole_texts(table: pa.Table) -> pa.Table:
    """The same rows, once it is certain that their texts are UTF-8: in files without checksums a byte may have changed,
    which Arrow raises only where somebody looks at the text.

    Raises:
      pa.ArrowInvalid: where one is not.
    """
    table.validate(full=True)
    return table


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
    except NOT_OURS as error:
        told = f"{url} is damaged ({first_line(error)}): remove it, and run its job again, which makes it anew"
        raise StorageError(told) from None
