"""Reads the headers of a tar: which entry stands where, without reading the data of any.

The standard library reads the headers (ustar, PAX, GNU long names); this file adds what it leaves out: why it stopped,
and bounds on what a header claims.
"""

from __future__ import annotations

import dataclasses
import re
import struct
import tarfile
from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

from beam_curator.sources.tar.compression import DamagedStreamError, is_decompressed
from beam_curator.sources.tar.kinds import kind_of
from beam_curator.sources.tar.plain_headers import PLAIN_HEADER_BYTES, plain_header

BLOCK = tarfile.BLOCKSIZE

FILE, DIRECTORY, HARD_LINK, SYMBOLIC_LINK, DEVICE = "file", "directory", "hard link", "symbolic link", "device or pipe"

UNKNOWN_TYPE = "entry of an unknown type"
"""The kinds of a tar's entries. A hard link is as good as a file where it links to an earlier one of the shard."""

_MAX_HEADER_BYTES = 1 << 20

_MAX_DIGITS = 1000

_MAX_EXTENSIONS = 16  # of one entry: tarfile recurses for each, and how far it can depends on who called it

_PAX_TYPES = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)

_LONG_TYPES = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)

_RECORD_LENGTH = re.compile(rb"([0-9]{1,20}) ")

_GLOBAL_MEANING = re.compile(r"path|linkpath|size|GNU\.sparse\..*", re.DOTALL)

_MAX_OFFSET = 1 << 43  # no bucket holds a file that large, and local file systems refuse to seek much further

_HOSTILE_HEADER = (
    tarfile.TarError,
    ValueError,
    OverflowError,
    IndexError,
    KeyError,
    EOFError,
    struct.error,
)


class TarBroken(Exception):  # noqa: N818 (an outcome that the reader records, not an error that ends anything)
    """The tar cannot be read on from here.

    Attributes:
      offset: where, in bytes from the beginning of the file object.
      reason: what is wrong there.
    """

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"{reason} at byte {offset}")
        self.offset = offset
        self.reason = reason


class _HeaderReads:
    """A file as tarfile reads headers from it: one entry's header, extensions and sparse map together are at most a
    megabyte, and PAX records are what they claim to be before tarfile parses them.

    Older releases of Python parse hostile records in quadratic time and memory (CVE-2024-6232), and all of them take
    what follows a header that was not read whole for the next header.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell
        self.begin_entry()

    def begin_entry(self) -> None:
        """The next entry is about to be read."""
        self._bytes_left = _MAX_HEADER_BYTES
        self._body_of = b""
        self._extensions = 0

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            raise tarfile.ReadError("negative size")
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise tarfile.ReadError(f"header of more than {_MAX_HEADER_BYTES} bytes")
        data = self._file.read(size)
        if self._body_of and len(data) < size:
            raise tarfile.ReadError("truncated inside an extension header")
        if self._body_of in _PAX_TYPES:
            _check_pax_records(data)
        is_header = not self._body_of and len(data) == BLOCK
        self._body_of = data[156:157] if is_header and data[156:157] in (*_PAX_TYPES, *_LONG_TYPES) else b""
        self._extensions += bool(self._body_of)
        if self._extensions > _MAX_EXTENSIONS:
            raise tarfile.ReadError(f"more than {_MAX_EXTENSIONS} extension headers")
        return data


def _check_pax_records(body: bytes) -> None:
    """Raises tarfile.ReadError unless the body is records of "LENGTH KEYWORD=VALUE\\n", as newer Pythons do."""
    position = 0
    while position < len(body) and body[position]:
        match = _RECORD_LENGTH.match(body, position)
        end = position + int(match[1]) if match else 0
        if not match or end > len(body) or body.find(b"=", match.end(), end) <= match.end() or body[end - 1] != 0x0A:
            raise tarfile.ReadError("invalid PAX record")
        position = end
    if any(len(digits) > _MAX_DIGITS for digits in re.findall(rb"[0-9]+", body)):
        raise tarfile.ReadError(f"PAX header with a number of more than {_MAX_DIGITS} digits")


@dataclasses.dataclass(frozen=True)
class Header:
    """One entry of a tar: its name, where its header, data and successor begin, what it is (`FILE`, ...), and what it
    links to.

    Extensions, and PAX global headers that come before, are part of the header, so that each entry begins where the
    last one ended: a cut between two never leaves a header alone.
    """

    name: str
    offset: int
    data_offset: int
    size: int
    next_offset: int
    kind: str = FILE
    is_sparse: bool = False
    link_name: str = ""

    def shifted(self, by: int) -> Header:
        """The same entry, its places counted from elsewhere."""
        places = {name: getattr(self, name) + by for name in ("offset", "data_offset", "next_offset")}
        return dataclasses.replace(self, **places)


def iter_headers(file: BinaryIO) -> Iterator[Header]:
    """The entries of a tar, from the file's position 0, hopping from header to header.

    Ends silently at an end-of-archive block or at the end of the file; `check_end` tells the two apart.

    Raises:
      TarBroken: where a header cannot be read, or claims an impossible size.
    """
    if is_decompressed(file):
        yield from _headers_by_tarfile(file, 0)
        return
    offset = 0
    while (header := _plain_header(file, offset) or next(_headers_by_tarfile(file, offset), None)) is not None:
        yield header
        offset = header.next_offset


def _plain_header(file: BinaryIO, offset: int) -> Header | None:
    """Reads the header at an offset, if it is as plain as nearly all are; else gives None."""
    file.seek(offset)
    plain = plain_header(file.read(PLAIN_HEADER_BYTES))
    if plain is None:
        return None
    data_offset = offset + plain.header_bytes
    next_offset = data_offset + plain.size + -plain.size % BLOCK
    if next_offset > _MAX_OFFSET:
        return None
    return Header(plain.name, offset, data_offset, plain.size, next_offset)


def _headers_by_tarfile(file: BinaryIO, offset: int) -> Iterator[Header]:
    """Yields headers as `iter_headers` does, from an offset where an entry begins, whatever it is."""
    tar: tarfile.TarFile | None = None
    reads = _HeaderReads(file)
    file.seek(offset)
    while True:
        try:
            reads.begin_entry()
            if tar is None:
                # Closing it would do nothing: it does not own the file.
                tar = tarfile.TarFile(fileobj=cast(BinaryIO, reads), mode="r", encoding="utf-8")
                if tar.firstmember is None:  # type: ignore[attr-defined]  # next() would seek to -1 in Python 3.10
                    _classify_stop(file, offset)
                    return
            info = tar.next()
        except DamagedStreamError as damage:
            raise TarBroken(offset, str(damage)) from damage
        except _HOSTILE_HEADER as error:
            _classify_stop(file, offset, str(error))
            return
        if info is None:
            _classify_stop(file, offset)
            return
        _check_global(tar, offset)
        tar.members = []  # type: ignore[attr-defined]  # which would hold every header of a large shard
        if info.size < 0 or not _data_end(info) <= tar.offset <= _MAX_OFFSET:
            raise TarBroken(offset, f"header with an impossible size ({info.size} bytes)")
        yield Header(
            name=info.name,
            offset=offset,
            data_offset=info.offset_data,
            size=info.size,
            next_offset=tar.offset,
            kind=_kind(info),
            is_sparse=info.issparse(),
            link_name=info.linkname if info.islnk() else "",
        )
        offset = tar.offset


def _kind(info: tarfile.TarInfo) -> str:
    if info.isreg():
        return FILE
    if info.isdir():
        return DIRECTORY
    if info.islnk():
        return HARD_LINK
    if info.issym():
        return SYMBOLIC_LINK
    return DEVICE if info.isdev() else UNKNOWN_TYPE


def _check_global(tar: tarfile.TarFile, offset: int) -> None:
    """Forgets what PAX global headers say, which changes nothing here but what samples are called and where they end.

    Raises:
      TarBroken: where one does change that: whoever reads a sample by itself would not see it.
    """
    meaningful = [keyword for keyword in tar.pax_headers if _GLOBAL_MEANING.fullmatch(keyword)]
    if meaningful:
        raise TarBroken(offset, f'PAX global header that sets "{meaningful[0]}" of all members')
    tar.pax_headers = {}


def _data_end(info: tarfile.TarInfo) -> int:
    """Gives the offset at which an entry's data ends at least; a link's size says nothing of its data, nor a sparse
    file's."""
    return info.offset_data + (info.size if info.isreg() and not info.issparse() else 0)


def _classify_stop(file: BinaryIO, offset: int, reason: str | None = None) -> None:
    """Returns if the headers ended as they may at this offset; raises TarBroken if something else stands there."""
    try:
        file.seek(max(0, offset - 1))
        if offset and not file.read(1):
            raise TarBroken(offset, "truncated: a member ends after the end of the file")
        block = file.read(BLOCK)
    except DamagedStreamError as damage:
        raise TarBroken(offset, str(damage)) from damage
    if not block or not any(block):
        return
    if len(block) < BLOCK:
        raise TarBroken(offset, "truncated inside a header")
    what = "not a tar header" if offset == 0 else "invalid header"
    kind = kind_of(block) if offset == 0 else None
    raise TarBroken(offset, f"{what} ({reason or _fault(block)}){f', but {kind}' if kind else ''}")


def _fault(block: bytes) -> str:
    """Says what is wrong with a header, which tarfile keeps to itself where it ends quietly."""
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.TarError as error:
        return str(error)
    return "invalid header"


def check_end(file: BinaryIO, offset: int) -> None:
    """Raises TarBroken unless an end-of-archive block stands at the offset where the headers ended."""
    file.seek(offset)
    if not file.read(BLOCK):
        reason = "empty file" if offset == 0 else "truncated at a member's end: no end-of-archive block"
        raise TarBroken(offset, reason)


LinkTarget = Callable[[Header], Header | None]
"""Gives the file that a hard link stands for, if it is an earlier one of the shard; see `tar.links`."""

OnPassedOver = Callable[[Header, str], None]
