"""Records where each member of a range's samples stands: copying needs no more, and looks at no header again."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_curator.samples import Buffer, Sample
from beam_curator.sources.tar.extents import EXTENTS, extents_column

MEMBERS = "members"
HEADERS_CRC32 = "headers_crc32"
MEMBER_TYPE = pa.struct([("extension", pa.binary()), ("offset", pa.int64()), ("size", pa.int64())])


def headers_crc32(data: Buffer, offset: int, span_bytes: int, members: Iterable[tuple[int, int]]) -> int:
    """The CRC-32 of all of a sample that is not its members' data: headers, and what is padded.

    Args:
      data: the bytes that hold the sample.
      offset: where in them it begins.
      span_bytes: how long it is.
      members: (offset in `data`, size) of each member's data, in order.
    """
    crc, at = 0, offset
    for begin, size in members:
        crc = zlib.crc32(data[at:begin], crc)
        at = begin + size
    return zlib.crc32(data[at : offset + span_bytes], crc)


def member_columns(samples: Sequence[Sample]) -> dict[str, pa.Array]:
    """The columns of a score part that `MemberTable.of` reads.

    `members` has for each sample a list of (extension, offset, size): the extension's bytes as they are in the tar but
    for their case, where the data begins in the uncompressed tar, and its length. `headers_crc32` is the sample's
    `headers_crc32`, null where it was not read whole; `extents` the pieces of the tar that a sample takes, as a list of
    (offset, size), null where it is one, from its offset on.
    """
    members = [list(sample.members.values()) for sample in samples]
    flat = [member for some in members for member in some]
    entries = pa.StructArray.from_arrays(
        [
            pa.array([m.extension.encode("utf-8", "surrogateescape") for m in flat], pa.binary()),
            pa.array([m.offset for m in flat], pa.int64()),
            pa.array([m.size for m in flat], pa.int64()),
        ],
        fields=list(MEMBER_TYPE),
    )
    first = np.cumsum([0, *map(len, members)], dtype=np.int32)
    return {
        MEMBERS: pa.ListArray.from_arrays(pa.array(first), entries),
        HEADERS_CRC32: pa.array([sample.headers_crc32 for sample in samples], pa.int64()),
        EXTENTS: extents_column(samples),
    }


@dataclasses.dataclass(frozen=True)
class MemberTable:
    """The places of the m members of n samples in the uncompressed tar.

    Attributes:
      first: int64 [n + 1], for each sample the index of its first member; the last number is m.
      extensions: m extensions, in the bytes of the tar.
      offsets: int64 [m], the offset at which each member's data begins.
      sizes: int64 [m], the length of each member's data in bytes.
      headers_crc32: for each of n samples, the CRC-32 of its bytes that are not members' data; None if the sample was
        not read whole.
    """

    first: np.ndarray
    extensions: pa.BinaryArray
    offsets: np.ndarray
    sizes: np.ndarray
    headers_crc32: list[int | None]

    @classmethod
    def of(cls, columns: pa.Table | Mapping[str, pa.Array]) -> MemberTable:
        """The table that these columns of a score part hold."""
        lists, crc = (_whole(columns[name]) for name in (MEMBERS, HEADERS_CRC32))
        extensions, offsets, sizes = lists.flatten().flatten()
        first = lists.offsets.to_numpy().astype(np.int64)
        return cls(first - first[0], extensions, offsets.to_numpy(), sizes.to_numpy(), crc.to_pylist())


def with_offsets(columns: pa.Table, offsets: pa.Array) -> pa.Table:
    """The columns with other offsets (int64 [m]) of the members' data."""
    lists = _whole(columns[MEMBERS])
    extensions, _, sizes = lists.flatten().flatten()
    entries = pa.StructArray.from_arrays([extensions, offsets, sizes], fields=list(MEMBER_TYPE))
    first = pc.subtract(lists.offsets, lists.offsets[0])
    index = columns.schema.get_field_index(MEMBERS)
    return columns.set_column(index, columns.schema.field(index), pa.ListArray.from_arrays(first, entries))


def _whole(column: Any) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
