"""Reads the samples of a range, with one open and one sequential read."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO, NamedTuple

from beam_curator.samples import (
    REPEATED_KEYS,
    RETURNING_KEYS,
    Finding,
    Sample,
    ShardError,
    ShardRange,
    readable,
)
from beam_curator.sources.tar import indexing
from beam_curator.sources.tar.compression import DamagedStreamError, open_tar, read_to_damage
from beam_curator.sources.tar.extents import Extent, Pieces, read_pieces, with_pieces
from beam_curator.sources.tar.grouping import group_samples
from beam_curator.sources.tar.headers import TarBroken, iter_headers
from beam_curator.sources.tar.links import HardLinks
from beam_curator.sources.tar.member_table import headers_crc32
from beam_curator.sources.tar.windows import window
from beam_curator.storage.retrying import retried

MAX_SAMPLE_BYTES = 1 << 30
"""A larger sample is failed, not loaded: it bounds the memory that one range can take."""

MAX_DECOMPRESSED_BYTES = 256 << 20
"""A compressed range that holds more is not decompressed at once: that is more likely a bomb than samples."""

COALESCED_GAP_BYTES = 256 << 10
"""Pieces this near to each other are fetched in one read."""

READ_BYTES = 8 << 20
"""So much is read at once where samples are fetched: in a bucket, waiting for a small read takes longer than its bytes,
and each call of the system is one after which a thread may have to wait for Python's lock."""

LAID_BYTES = 64 << 20
"""So much of a compressed shard is read at once where members stand apart: each read begins at its beginning."""


class RangeContent(NamedTuple):
    """The samples of a range, and what else was met in it.

    Attributes:
      samples: the samples, with their bytes.
      errors: why the shard could not be read to its end; empty if it was.
      passed_over: how many entries belong to no sample, by kind.
      findings: other oddities that the shard's owner should know.
    """

    samples: list[Sample]
    errors: list[ShardError]
    passed_over: Mapping[str, int]
    findings: list[Finding]


@retried
def read_range(range: ShardRange) -> RangeContent:
    """Reads all samples of a range with their bytes, why the shard could not be read to its end, if so, and what it
    holds besides samples.

    The bytes are views of a few buffers. A sample that the shard's end cuts, that is larger than `MAX_SAMPLE_BYTES`, or
    that the tar makes unusable has a `failure`.

    Raises:
      StorageError: when the shard cannot be read, after retries.
    """
    with open_tar(range.shard, range.compression) as tar:
        read = _read_at_once if is_read_at_once(range) else _read_sample_by_sample
        samples, errors, passed_over = (_read_by_key if range.reading.group_by_key else read)(tar, range)
        places = key_places(tar, range, samples)
        damage = damage_in(tar, range) if range.compression else None
    samples = [s if len(places[s.key]) < 2 else dataclasses.replace(s, same_key=len(places[s.key])) for s in samples]
    return RangeContent(samples, [damage] if damage else errors, passed_over, key_findings(range, samples, places))


def is_read_at_once(range: ShardRange) -> bool:
    """Tells whether a range is small enough for all of its bytes to be in memory; else a sample that is too large is
    not read."""
    most = min(MAX_SAMPLE_BYTES, MAX_DECOMPRESSED_BYTES) if range.compression else MAX_SAMPLE_BYTES
    return range.end - range.start <= most


def _read_at_once(tar: BinaryIO, range: ShardRange) -> indexing.Indexed:
    data = bytes_at(tar, range, range.start, range.end - range.start)
    indexed = indexing.indexed(io.BytesIO(data), range, len(data), tar)
    return indexed._replace(samples=with_all_data(tar, range, indexed.samples, data))


def _read_sample_by_sample(tar: BinaryIO, range: ShardRange) -> indexing.Indexed:
    """Reads a range that holds a huge sample: that one is failed, the others are read one by one."""
    indexed = indexing.indexed(window(tar, range.start, range.end), range, range.end - range.start, tar)
    return indexed._replace(samples=with_all_data(tar, range, indexed.samples, None))


def _read_by_key(tar: BinaryIO, range: ShardRange) -> indexing.Indexed:
    indexed = indexing.indexed_by_key(tar, range)
    return indexed._replace(samples=with_all_data(tar, range, indexed.samples, None))


def with_all_data(tar: BinaryIO, range: ShardRange, samples: Sequence[Sample], data: bytes | None) -> list[Sample]:
    """The samples with their bytes; `data` is the range, if it was read as a whole."""
    usable = [limited(sample) for sample in samples]
    scattered = [e for s in usable if s.extents and not s.failure for e in s.extents]
    pieces = read_extents(tar, range, scattered) if scattered else Pieces()
    read: list[Sample] = []
    for sample in usable:
        if sample.extents:
            read.append(with_pieces(sample, pieces))
        elif data is not None:
            read.append(with_data(sample, memoryview(data), range.start))
        elif sample.span_bytes > MAX_SAMPLE_BYTES:
            read.append(sample)
        else:
            own = bytes_at(tar, range, sample.offset, sample.span_bytes)
            read.append(with_data(sample, memoryview(own), sample.offset))
    return read


def limited(sample: Sample) -> Sample:
    """The sample, failed if it is larger than a sample may be."""
    if sample.span_bytes <= MAX_SAMPLE_BYTES:
        return sample
    why = f"sample of {sample.span_bytes} bytes is over the limit of {MAX_SAMPLE_BYTES}"
    return dataclasses.replace(sample, failure=sample.failure or why)


def read_extents(tar: BinaryIO, range: ShardRange, extents: Sequence[Extent]) -> Pieces:
    """Reads these pieces of a range's shard, in the order in which they stand there."""
    return read_pieces(
        lambda start, length: bytes_at(tar, range, start, length), extents, COALESCED_GAP_BYTES, READ_BYTES
    )


_Places = Mapping[str, Sequence[tuple[int, frozenset[str]]]]
"""The places in the shard at which a key's samples begin, with the extensions that each has; by key."""


def key_places(tar: BinaryIO, range: ShardRange, samples: Sequence[Sample]) -> _Places:
    """The samples of the whole shard that have a key of this range."""
    places: dict[str, list[tuple[int, frozenset[str]]]] = {sample.key: [] for sample in samples}
    everywhere: Iterator[Sample] = iter(samples)
    if range.keys_return and not range.reading.group_by_key:
        everywhere = group_samples(iter_headers(tar), HardLinks(tar))
    with contextlib.suppress(TarBroken):
        for sample in everywhere:
            if sample.key in places:
                places[sample.key].append((sample.offset, frozenset(sample.members)))
    return places


def key_findings(range: ShardRange, samples: Sequence[Sample], places: _Places) -> list[Finding]:
    """Tells of samples whose key stood before in the shard."""
    found: dict[str, list[Sample]] = {RETURNING_KEYS: [], REPEATED_KEYS: []}
    for sample in samples:
        before = [extensions for offset, extensions in places[sample.key] if offset < sample.offset]
        if before:
            apart = all(extensions.isdisjoint(sample.members) for extensions in before)
            found[RETURNING_KEYS if apart else REPEATED_KEYS].append(sample)
    return [
        Finding(kind, range.url, some[0].offset, readable(some[0].key), len(some))
        for kind, some in found.items()
        if some
    ]


def bytes_at(tar: BinaryIO, range: ShardRange, start: int, length: int) -> bytes:
    """Reads bytes of a range's shard, or as many of them as are there before its end or damage."""
    if not range.compression:
        tar.seek(start)
        return tar.read(length)
    with contextlib.suppress(DamagedStreamError):
        tar.seek(start)
        return read_to_damage(tar, length)[0]
    return b""


def damage_in(tar: BinaryIO, range: ShardRange) -> ShardError | None:
    """Finds where a compressed shard is damaged inside the range, or at the end of the last one; None if it is
    sound."""
    try:
        tar.seek(range.end)
        if range.last:
            tar.read(1)
    except DamagedStreamError as damage:
        return ShardError(range.url, min(tar.tell(), range.end), str(damage))
    return None


def with_data(sample: Sample, buffer: memoryview, start: int) -> Sample:
    """The sample with its members' bytes, as views of a buffer that begins at `start` in the shard; failed if that cuts
    one of them."""
    members = {}
    for member in sample.members.values():
        data = buffer[member.offset - start : member.offset - start + member.size]
        members[member.extension] = dataclasses.replace(member, data=data if len(data) == member.size else None)
    places = [(member.offset - start, member.size) for member in members.values()]
    crc = headers_crc32(buffer, sample.offset - start, sample.span_bytes, places)
    cut = [member.extension for member in members.values() if member.data is None]
    failure = f'truncated shard: member "{readable(cut[0])}" is cut' if cut else None
    return dataclasses.replace(sample, members=members, headers_crc32=crc, failure=sample.failure or failure)
