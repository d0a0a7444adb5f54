"""MosaicML's streaming datasets: .mds shards with a column of images.

A shard says all of itself: how many samples it has, where each begins, and what its columns hold. A sample is the sizes
of its columns of no fixed size, and then the data of all columns. So any run of samples is read by its place, and
images come out as the bytes that they went in as. Of a compressed shard each run decompresses what stands before it.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from beam_curator import json_text
from beam_curator.errors import first_line
from beam_curator.images.extensions import extension_of
from beam_curator.samples import Buffer, Shard
from beam_curator.sources.columns import Columns, columns_of
from beam_curator.sources.json_fields import json_member
from beam_curator.sources.records import Record
from beam_curator.sources.source import Rows, UnreadableShard
from beam_curator.sources.tar.compression import DamagedStreamError, decompressed, detect_compression
from beam_curator.storage import files, open_files

MAX_SAMPLE_BYTES = 1 << 30
_MAX_TOLD_BYTES = 16 << 20
_MAX_TABLE_BYTES = 64 << 20  # of a compressed shard, whose size does not say how many samples it may hold

_COUNT = struct.Struct("<I")
_ENDING = ".mds"
_COMPRESSED = tuple(f"{_ENDING}{one}" for one in (".zstd", ".zst", ".gz", ".bz2", ".xz", ".lz4"))
_NOT_READ = (".mds.br", ".mds.snappy")  # and said to be so, rather than passed over
MDS_ENDINGS = (_ENDING, *_COMPRESSED, *_NOT_READ)
_IMAGES = ("jpeg", "png")
_NUMBERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64")


@dataclasses.dataclass(frozen=True)
class _Header:
    """The header of an MDS shard.

    Attributes:
      offsets: uint32 [n + 1], the offsets at which n samples begin, and at which the last one ends.
      names, encodings: names and encodings of the columns, in order.
      sizes: for each column the size of its values in bytes; None where each sample says it.
    """

    offsets: np.ndarray
    names: Sequence[str]
    encodings: Sequence[str]
    sizes: Sequence[int | None]


@dataclasses.dataclass(frozen=True)
class MdsSource:
    """Reads .mds shards, also compressed ones.

    Attributes:
      image_column: the column of images; "" to find it.
      caption_column: the column of captions; "" to find it.
      endings: how such files end.
    """

    image_column: str = ""
    caption_column: str = ""
    endings: tuple[str, ...] = MDS_ENDINGS

    def plan(self, shard: Shard, range_bytes: int) -> Sequence[Rows]:
        """Runs of samples, by where each begins."""
        with _opened(shard) as file:
            header = _header(file, _most_bytes(shard))
            self._columns(header)
        runs, start = [], 0
        places = header.offsets.astype(np.int64)
        while start < len(places) - 1:
            end = int(np.searchsorted(places, places[start] + range_bytes, "right")) - 1
            end = max(start + 1, min(end, len(places) - 1))
            runs.append(Rows(start, end, int(places[end] - places[start])))
            start = end
        return runs

    def read(self, shard: Shard, rows: Sequence[int]) -> Iterator[Record]:
        """Samples of a shard, read one after the other."""
        with _opened(shard) as file:
            header = _header(file, _most_bytes(shard))
            columns = self._columns(header)
            stem = _stem(shard)
            for row in rows:
                yield _record(file, header, columns, f"{stem}/{row:08d}", row)

    def _columns(self, header: _Header) -> Columns:
        fields = {name: _type(encoding) for name, encoding in zip(header.names, header.encodings, strict=True)}
        images = [name for name, encoding in zip(header.names, header.encodings, strict=True) if _is_image(encoding)]
        image = self.image_column or (images[0] if len(images) == 1 else "")
        known = pa.schema([(name, type) for name, type in fields.items() if type is not None])
        unread = [name for name, type in fields.items() if type is None]
        try:
            found = columns_of(known, image, self.caption_column)
        except UnreadableShard as error:
            if not unread or (images and self.image_column not in unread):
                raise
            told = ", ".join(f"{name} ({_encoding(header, name)})" for name in unread)
            raise UnreadableShard(f"{error}; and, encoded in ways that are not read, {told}") from error
        return dataclasses.replace(found, left=[*found.left, *unread])


def _header(file: BinaryIO, size_bytes: int) -> _Header:
    """The beginning of a shard.

    Args:
      file: it, at its beginning.
      size_bytes: how many bytes the table of its samples may take.

    Raises:
      UnreadableShard: when it is none.
    """
    try:
        count = _COUNT.unpack(open_files.read_fully(file, _COUNT.size))[0]
        table = _COUNT.size * (count + 1)
        if _COUNT.size + table > size_bytes:
            raise ValueError(f"it is too short for the {count:,} samples that it names")
        offsets = np.frombuffer(open_files.read_fully(file, table), "<u4")
        if (np.diff(offsets.astype(np.int64)) < 0).any() or offsets[0] < _COUNT.size + table:
            raise ValueError("its samples do not follow each other")
        described = int(offsets[0]) - _COUNT.size - table
        if described > _MAX_TOLD_BYTES:
            raise ValueError(f"what it says of its columns is more than {_MAX_TOLD_BYTES} bytes")
        told = json_text.loads(open_files.read_at_most(file, described))
        names, encodings, sizes = (list(told[f"column_{what}"]) for what in ("names", "encodings", "sizes"))
        names, encodings = (list(map(str, ones)) for ones in (names, encodings))
        "".join([*names, *encodings]).encode()  # raises for half a character, which nothing could be called
        if len(set(names)) < len(names):
            raise ValueError("two of its columns have one name")
        if not len(names) == len(encodings) == len(sizes) or any(one and not _is_size(one) for one in sizes):
            raise ValueError("its columns are not all described")
    except (ValueError, LookupError, TypeError, struct.error, DamagedStreamError) as error:
        raise UnreadableShard(f"is no MDS shard: {first_line(error)}") from error
    if not count:
        raise UnreadableShard("has no rows")
    return _Header(offsets, names, encodings, sizes)


def _is_size(told: Any) -> bool:
    return isinstance(told, int) and told > 0


def _record(file: BinaryIO, header: _Header, columns: Columns, key: str, row: int) -> Record:
    if row >= len(header.offsets) - 1:
        return Record(key, failure="damaged MDS shard: the sample is missing")
    begin, end = map(int, header.offsets[row : row + 2])
    if end - begin > MAX_SAMPLE_BYTES:
        return Record(key, failure=f"sample of more than {MAX_SAMPLE_BYTES} bytes")
    try:
        file.seek(begin)
        data = open_files.read_at_most(file, end - begin)
    except DamagedStreamError as damage:
        return Record(key, failure=f"damaged MDS shard: {damage}")
    pieces = _pieces(header, memoryview(data)) if len(data) == end - begin else None
    if pieces is None:
        return Record(key, failure="damaged MDS shard: the sample is cut, or its columns do not fill it")
    image = pieces[columns.image]
    members: dict[str, Buffer] = {extension_of(image) or _extension(header, columns.image): image}
    values = {name: _value(_encoding(header, name), bytes(pieces[name])) for name in columns.fields}
    if columns.caption:
        members["txt"] = pieces[columns.caption]
    if values:
        members["json"] = json_member(values)
    kinds = [f"column of {_encoding(header, name)} ({name})" for name in columns.left]
    return Record(key, members, None if len(image) else "empty image", kinds)


def _pieces(header: _Header, data: memoryview) -> dict[str, memoryview] | None:
    """The data of each column; None where they do not fill the sample."""
    free = [place for place, size in enumerate(header.sizes) if not size]
    at = _COUNT.size * len(free)
    if at > len(data):
        return None
    told = dict(zip(free, np.frombuffer(data[:at], "<u4").tolist(), strict=True))
    pieces = {}
    for place, name in enumerate(header.names):
        size = told[place] if place in told else header.sizes[place] or 0
        pieces[name] = data[at : at + size]
        at += size
    return pieces if at == len(data) else None


def _kind(encoding: str) -> str:
    return encoding.partition(":")[0]


def _encoding(header: _Header, name: str) -> str:
    return header.encodings[header.names.index(name)]


def _extension(header: _Header, name: str) -> str:
    return "png" if _kind(_encoding(header, name)) == "png" else "jpg"


def _is_image(encoding: str) -> bool:
    return _kind(encoding) in _IMAGES


def _type(encoding: str) -> pa.DataType | None:
    """Gives the type of a column; None for what goes nowhere: arrays, raw pixels, pickles (which run what they
    hold)."""
    kind = _kind(encoding)
    if kind in (*_IMAGES, "bytes"):
        return pa.binary()
    if kind == "str":
        return pa.string()
    if kind in (*_NUMBERS, "int"):
        return pa.type_for_alias("int64" if kind == "int" else kind)
    return pa.null() if kind in _READ else None


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _number(kind: str) -> Callable[[bytes], Any]:
    return lambda data: np.frombuffer(data, np.dtype(kind).newbyteorder("<"))[0].item()


_READ: Mapping[str, Callable[[bytes], Any]] = {
    "str": _text,
    "int": _number("int64"),
    **{kind: _number(kind) for kind in _NUMBERS},
    "str_int": lambda data: int(_text(data)),
    "str_float": lambda data: float(_text(data)),
    "str_decimal": _text,
    "json": json_text.loads,
}


def _value(encoding: str, data: bytes) -> Any:
    """A field; the text of what is no such thing."""
    try:
        return _READ[_kind(encoding)](data)
    except (ValueError, IndexError):
        return _text(data)


def _opened(shard: Shard) -> BinaryIO:
    """A shard's uncompressed bytes.

    Raises:
      UnreadableShard: for a compression that is not read.
    """
    name = shard.url.lower()
    if name.endswith(_NOT_READ):
        raise UnreadableShard(f"is compressed by {name.rpartition('.')[2]}, which is not read: decompress it")
    file = files.open_for_reading(shard.path, shard.size_bytes)
    # An .mds is not looked at: the number of its samples may be what a compressed file begins with.
    return decompressed(file, "" if name.endswith(_ENDING) else detect_compression(file))


def _most_bytes(shard: Shard) -> int:
    return shard.size_bytes if shard.url.lower().endswith(_ENDING) else _MAX_TABLE_BYTES


def _stem(shard: Shard) -> str:
    name = shard.url.rstrip("/").rpartition("/")[2]
    ending = next((one for one in MDS_ENDINGS if name.endswith(one)), "")
    return name.removesuffix(ending)
