"""Tells what real writers leave between the end of an archive and the end of its last record from data."""

from __future__ import annotations

import contextlib
import tarfile
from typing import BinaryIO

from beam_curator.sources.tar.compression import DamagedStreamError

_BLOCK, _RECORD = tarfile.BLOCKSIZE, tarfile.RECORDSIZE


def is_padding(tar: BinaryIO, end: int) -> bool:
    """Tells whether all that follows the end-of-archive block is what fills the last record of 20 blocks.

    Ant and other writers hand out whole records, and leave what the record before had where nothing was written
    since; AIX leaves other bytes. It is not padding where a header stands that is not left from the record before, nor
    where one zero block, or a tar's own end behind it, makes a hole likelier.

    Args:
      tar: a whole one.
      end: where its end-of-archive block begins.
    """
    with contextlib.suppress(DamagedStreamError):
        tar.seek(end)
        rest = tar.read(_RECORD - end % _RECORD)
        if tar.read(1):
            return False
        before = _record_before(tar, end, len(rest))
        blocks = [(rest[at : at + _BLOCK], before[at : at + _BLOCK]) for at in range(0, len(rest), _BLOCK)]
        strange = [block for block, left in blocks if any(block) and block != left]
        if not strange:
            return True
        return not any(map(_is_header, strange)) and not any(rest[: 2 * _BLOCK]) and any(rest[-_BLOCK:])
    return False


def _record_before(tar: BinaryIO, end: int, length: int) -> bytes:
    """Reads as many bytes, one record before the end-of-archive block, as the block and what follows it have."""
    if end < _RECORD:
        return b""
    tar.seek(end - _RECORD)
    return tar.read(length)


def _is_header(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True
