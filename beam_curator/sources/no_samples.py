"""Input without a sample: what was met instead, so that nothing read is never taken for success."""

from __future__ import annotations

import collections
import itertools
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from beam_curator.errors import JobError, StorageError, UsageError
from beam_curator.first_few import counted
from beam_curator.reading import DEFAULT_READING, Reading
from beam_curator.samples import Shard, readable
from beam_curator.sources.choosing import source_of
from beam_curator.sources.source import UnreadableShard
from beam_curator.sources.tar.compression import DamagedStreamError, decompressed, detect_compression
from beam_curator.sources.tar.headers import FILE, Header, TarBroken, iter_headers
from beam_curator.sources.tar.kinds import HEAD_BYTES, kind_of
from beam_curator.sources.tar.names import split_name, why_passed_over
from beam_curator.storage import files
from beam_curator.storage.retrying import retried

SHOWN = 3
LOOKED_AT_ONCE = 16
MAX_MEMBERS = 10_000


def refuse_what_holds_none(shards: Sequence[Shard], reading: Reading = DEFAULT_READING) -> None:
    """Looks at the first bytes of shards, or at what they say of their rows, until one may hold a sample: nearly always
    of one shard.

    Raises:
      UsageError: when not one of all is a tar that begins with a member, or has rows with images.
    """
    met: list[str] = []
    for shard, what in _looked_at(shards, reading):
        if what is None:
            return
        met.append(f"{shard.url} {what}")
    kind = "holds images" if shards[0].format else "is a tar with samples"
    raise UsageError(_told(f"--input matches {counted(len(met), 'file')}, and none {kind}", met))


def _looked_at(shards: Sequence[Shard], reading: Reading) -> Iterator[tuple[Shard, str | None]]:
    yield shards[0], what_instead(shards[0], reading)
    with ThreadPoolExecutor(LOOKED_AT_ONCE) as pool:
        for first in range(1, len(shards), LOOKED_AT_ONCE):
            some = shards[first : first + LOOKED_AT_ONCE]
            yield from zip(some, pool.map(lambda one: what_instead(one, reading), some), strict=True)


def what_instead(shard: Shard, reading: Reading = DEFAULT_READING) -> str | None:
    """Says what a shard is, if its first bytes are not those of a tar with a member; None also where they cannot be
    read here, for workers may have the permission for it."""
    if shard.format:
        return _why_no_rows(shard, reading)
    if shard.size_bytes == 0:
        return "is empty (0 bytes)"
    try:
        compression, head = _head_of(shard)
    except StorageError:
        return None
    holds = f"is {compression} of what" if compression else ""
    if not head:
        return f"is {compression} of nothing"
    block = head[: tarfile.BLOCKSIZE]
    if not any(block):
        return f"{holds} is an empty tar: it has no members".strip() if len(block) > 0 else None
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        kind = kind_of(head)
        return f"{holds} is {kind}".strip() if kind else f"{holds} is not a tar".strip()
    return None


def _why_no_rows(shard: Shard, reading: Reading) -> str | None:
    try:
        return None if source_of(shard.format, reading).plan(shard, 1 << 62) else "has no rows"
    except UnreadableShard as error:
        return str(error)
    except StorageError:
        return None


@retried
def _head_of(shard: Shard) -> tuple[str, bytes]:
    """A shard's compression, and its first uncompressed bytes."""
    with files.open_for_reading(shard.path, shard.size_bytes) as file:
        compression = detect_compression(file)
        with decompressed(file, compression) as tar:
            try:
                return compression, tar.read(HEAD_BYTES)
            except DamagedStreamError:
                return compression, b""


def no_sample(shards: Sequence[Shard]) -> JobError:
    """The error of a job that has read not one sample.

    Args:
      shards: some of those that it read.
    """
    met = [f"{shard.url} {why_no_sample(shard)}" for shard in shards]
    return JobError(_told("not one sample was read", met or ["no shard was given to read"]))


def why_no_sample(shard: Shard) -> str:
    """Says why a shard gives no sample."""
    try:
        if shard.format:
            return _why_no_rows(shard, DEFAULT_READING) or "has rows, but none could be read"
        return what_instead(shard) or _of_members(shard)
    except StorageError as error:
        return f"cannot be read any more: {error}"


@retried
def _of_members(shard: Shard) -> str:
    """Says what the members of a tar are, none of which belongs to a sample."""
    with files.open_for_reading(shard.path, shard.size_bytes) as file:
        compression = detect_compression(file)
        with decompressed(file, compression) as tar:
            return _described(iter_headers(tar))


def _described(headers: Iterator[Header]) -> str:
    kinds: collections.Counter[str] = collections.Counter()
    examples: dict[str, str] = {}
    broken = ""
    try:
        for header in itertools.islice(headers, MAX_MEMBERS):
            kind = _kind_of_member(header)
            kinds[kind] += 1
            examples.setdefault(kind, readable(header.name)[:80])
    except TarBroken as error:
        broken = f"is broken: {error}"
    if not kinds:
        return broken or "is an empty tar: it has no members"
    told = ", ".join(f'{count:,} x {kind}, such as "{examples[kind]}"' for kind, count in kinds.most_common())
    return f"has members, but none makes a sample: {told}{f'; then it {broken}' if broken else ''}"


def _kind_of_member(header: Header) -> str:
    if header.kind != FILE:
        return header.kind
    return "file of a sample" if split_name(header.name) else why_passed_over(header.name)


def _told(what: str, met: Sequence[str]) -> str:
    more = f"; and {len(met) - SHOWN:,} more" if len(met) > SHOWN else ""
    text = f"{what}: {'; '.join(met[:SHOWN])}{more}"
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
