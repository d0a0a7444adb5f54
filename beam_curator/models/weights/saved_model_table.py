"""Reads the index of a SavedModel's variables: a table in LevelDB's format, whose footer points to the index block, and
that to the data blocks. See https://github.com/google/leveldb/blob/main/doc/table_format.md."""

from __future__ import annotations

from collections.abc import Iterator

from beam_curator.models.weights.saved_model_wire import SavedModelError, varint

_TABLE_MAGIC = 0xDB4775248B80FB57  # Ends every LevelDB table, little-endian.
_FOOTER_BYTES = 48


def table_entries(table: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yields the keys and values of a table, in its order.

    Args:
      table: content of `variables.index`.

    Raises:
      SavedModelError: the bytes contradict the format.
    """
    if len(table) < _FOOTER_BYTES or int.from_bytes(table[-8:], "little") != _TABLE_MAGIC:
        raise SavedModelError("variables.index does not end as a LevelDB table does")
    footer = table[-_FOOTER_BYTES:-8]
    _, _, at = _block_handle(footer, 0)  # The metaindex, which TensorFlow leaves empty.
    offset, size, _ = _block_handle(footer, at)
    for _, handle in _block_entries(_block(table, offset, size)):
        offset, size, _ = _block_handle(handle, 0)
        yield from _block_entries(_block(table, offset, size))


def _block_handle(data: memoryview, at: int) -> tuple[int, int, int]:
    offset, at = varint(data, at)
    size, at = varint(data, at)
    return offset, size, at


def _block(table: memoryview, offset: int, size: int) -> memoryview:
    # One byte after a block says how it is compressed; four more are its checksum.
    if offset + size + 5 > len(table) - _FOOTER_BYTES:
        raise SavedModelError(f"a block at {offset}+{size} lies outside variables.index ({len(table)} bytes)")
    if table[offset + size] != 0:
        raise SavedModelError("variables.index has compressed blocks, which TensorFlow does not write")
    return table[offset : offset + size]


def _block_entries(block: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    if len(block) < 4:
        raise SavedModelError("a block of variables.index is cut short")
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 - 4 * restarts  # The restart points serve seeking only.
    if end < 0:
        raise SavedModelError(f"a block of {len(block)} bytes cannot have {restarts} restart points")
    entries, key, at = block[:end], b"", 0
    while at < end:
        shared, at = varint(entries, at)
        unshared, at = varint(entries, at)
        value_bytes, at = varint(entries, at)
        if shared > len(key) or at + unshared + value_bytes > end:
            raise SavedModelError("an entry of variables.index reaches beyond its block")
        key = key[:shared] + bytes(entries[at : at + unshared])
        at += unshared
        yield key, entries[at : at + value_bytes]
        at += value_bytes
