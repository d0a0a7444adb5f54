"""What flows: shards, their ranges, samples, members, and the batches they travel in.

Bytes stay put, references travel: a `Member` knows where its bytes are in the shard, and holds them only on the worker
that read them. Pickling or encoding drops the bytes, so any transform may shuffle batches cheaply.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from beam_curator.rule_tally import Tallies

Buffer = bytes | memoryview


@dataclasses.dataclass(frozen=True, order=True)
class Shard:
    """One tar file.

    Attributes:
      url: path or bucket url, as matched.
      size_bytes: its size in storage.
      generation: changes when the file is written again (its time of last change, in seconds).
    """

    url: str
    size_bytes: int
    generation: str = ""

    @property
    def name(self) -> str:
        """A file name's stem for what is written about this shard: readable, and unique among all shards."""
        stem = re.sub(r"\.(tar|tgz|gz|bz2|xz|tbz2?|txz|lzma|zst|tzst|lz4|tlz4)\b", "", self.url.rsplit("/", 1)[-1])
        stem = re.sub(r"[^A-Za-z0-9._-]", "_", stem)[:80]
        return f"{stem}-{hashlib.sha256(self.url.encode()).hexdigest()[:10]}"


@dataclasses.dataclass(frozen=True, order=True)
class ShardRange:
    """The unit of work: a byte range of one shard that begins and ends at sample boundaries.

    Attributes:
      shard: the tar file.
      start: offset of the first byte, in the uncompressed tar.
      end: offset after the last byte, in the uncompressed tar.
      ordinal: which range of the shard this is, from 0.
      last: whether the shard ends here, so that end-of-archive blocks are due.
      compression: "" for a plain tar, else one of `tar.compression.COMPRESSIONS`.
    """

    shard: Shard
    start: int
    end: int
    ordinal: int
    last: bool
    compression: str = ""

    @property
    def url(self) -> str:
        """The shard's path or bucket url."""
        return self.shard.url

    @property
    def name(self) -> str:
        """A file name's stem for what is written about this range: readable, and unique among all ranges."""
        return f"{self.shard.name}-{self.ordinal:05d}"


@dataclasses.dataclass(frozen=True)
class ShardError:
    """Why a shard could not be read to its end."""

    url: str
    offset: int
    reason: str


@dataclasses.dataclass(frozen=True)
class Member:
    """One file of a sample.

    Attributes:
      extension: what follows the first dot of its base name, lower-cased: "jpg", "txt", "seg.png".
      offset: where its data begins in the uncompressed tar.
      size: length of its data in bytes.
      data: the bytes, on the worker that read them; None elsewhere.
    """

    extension: str
    offset: int
    size: int
    data: Buffer | None = dataclasses.field(default=None, compare=False, repr=False)

    def __reduce__(self) -> tuple[type[Member], tuple[str, int, int]]:
        return Member, (self.extension, self.offset, self.size)


@dataclasses.dataclass(frozen=True)
class Sample:
    """A WebDataset sample: the consecutive members of a tar that share a key.

    Attributes:
      key: path up to the first dot of the base name.
      offset: where its first header begins in the uncompressed tar.
      span_bytes: from there to the end of its last member, padding included.
      members: by extension, in the order of the tar.
      failure: why the sample cannot be used, or None.
      headers_crc32: the CRC-32 of all its bytes that are not its members' data, once they were read.
      row: its ledger columns, where `ExplodeSamples` made it.
      embedding: float16 [dim], L2-normalised, where `ExplodeSamples` made it from an embedded batch.
      range: the range it came from, where `ExplodeSamples` made it.
      models: what gave its scores, where `ExplodeSamples` made it.
    """

    key: str
    offset: int
    span_bytes: int
    members: Mapping[str, Member]
    failure: str | None = None
    headers_crc32: int | None = None
    row: Mapping[str, Any] | None = dataclasses.field(default=None, repr=False)
    embedding: np.ndarray | None = dataclasses.field(default=None, compare=False, repr=False)
    range: ShardRange | None = dataclasses.field(default=None, repr=False)
    models: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)

    def first_member(self, extensions: frozenset[str]) -> Member | None:
        """The first member whose last extension ("png" of "seg.png") is one of these; a plain one goes first."""
        matching = [m for m in self.members.values() if m.extension.rsplit(".", 1)[-1] in extensions]
        return min(matching, key=lambda member: "." in member.extension, default=None)


def sample_uid(url: str, offset: int, key: str) -> str:
    """A sample's identity: 32 hex digits of the SHA-256 of where it stands in the input and of its key."""
    return hashlib.sha256(f"{url}\0{offset}\0{key}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclasses.dataclass(frozen=True)
class SampleBatch:
    """The samples of one range, as one Beam element.

    Attributes:
      range: where they come from.
      rows: one row per sample, in the order of the tar: the ledger columns known so far (see `beam_curator.rows`).
      samples: n samples, with bytes on the worker that read them; None once the scores are written.
      embeddings: float16 [n, dim], L2-normalised, zeros for samples that failed; None before they are embedded and
        once they are written.
      models: what gave the scores: step ("clip", "aesthetic", ...) to the model's identity.
      errors: why the shard could not be read to its end, if so.
      part: url of the Parquet file that holds these rows with their embeddings, once it is written.
      batch_reductions: how often the model's micro-batch was halved while these were embedded, for want of memory.
      judged: how each rule fared with these rows, once they are selected.
    """

    range: ShardRange
    rows: pa.Table
    samples: Sequence[Sample] | None = None
    embeddings: np.ndarray | None = None
    models: Mapping[str, str] = dataclasses.field(default_factory=dict)
    errors: tuple[ShardError, ...] = ()
    part: str | None = None
    batch_reductions: int = 0
    judged: Tallies = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return self.rows.num_rows

    def replace(self, **changes: Any) -> SampleBatch:
        """The same batch with these attributes changed."""
        return dataclasses.replace(self, **changes)
