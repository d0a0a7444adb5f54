"""What flows: shards, their ranges, samples, members, and the batches they travel in.

Bytes stay put, references travel: a `Member` knows where its bytes are in the shard, and holds them only on the worker
that read them. Pickling or encoding drops the bytes, so any transform may shuffle batches cheaply.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from beam_curator.errors import UsageError
from beam_curator.field_tally import FieldsFound
from beam_curator.identities import ModelIdentity
from beam_curator.phases import Span
from beam_curator.reading import DEFAULT_READING, Reading
from beam_curator.rule_tally import Tallies


def readable(text: str) -> str:
    r"""Text that UTF-8 can hold: bytes of a name that were not UTF-8 are shown as \xNN."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


Buffer = bytes | memoryview


@dataclasses.dataclass(frozen=True, order=True, slots=True)
class Shard:
    """A tar file; or what holds samples in another format: a Parquet file, some files of a folder or of a list.

    Attributes:
      url: path or bucket url, by which the job knows it.
      size_bytes: its size in storage.
      generation: changes when its content does.
      location: where it is read, if that is not the url by which the job knows it; it is no part of what the shard is.
      label: what ids of its samples call it, a file name as a rule (see `shard_identity.labelled`); nor is this.
      format: "" for a tar, else what its source is called: see `sources.source`.
      listing: of files that were listed, what `sources.listing` reads them by; `generation` tells it.
    """

    url: str
    size_bytes: int
    generation: str = ""
    location: str = dataclasses.field(default="", compare=False, repr=False)
    label: str = dataclasses.field(default="", compare=False, repr=False)
    format: str = ""
    listing: str = dataclasses.field(default="", compare=False, repr=False)

    @property
    def path(self) -> str:
        """Where it is read."""
        return self.location or self.url

    @property
    def identity(self) -> dict[str, Any]:
        """What tells it from all others, and from itself with another content."""
        others = {"format": self.format} if self.format else {}
        return {"url": self.url, "size_bytes": self.size_bytes, "generation": self.generation, **others}

    @property
    def called(self) -> str:
        """What ids of its samples call it."""
        return self.label or self.url.rpartition("/")[2]

    @property
    def name(self) -> str:
        """A file name's stem for what is written about this shard: readable, and unique among all shards."""
        stem = re.sub(
            r"\.(tar|parquet|tgz|gz|bz2|xz|tbz2?|txz|lzma|zst|tzst|lz4|tlz4)\b", "", self.url.rsplit("/", 1)[-1]
        )
        stem = re.sub(r"[^A-Za-z0-9._-]", "_", stem)[:80]
        return f"{stem}-{hashlib.sha256(self.url.encode()).hexdigest()[:10]}"


@dataclasses.dataclass(frozen=True, order=True)
class ShardRange:
    """The unit of work: a byte range of one tar that begins and ends at sample boundaries, or a run of rows of a shard
    in another format.

    Its samples are those whose first member stands in it; some of their bytes may be elsewhere in the shard
    (`Sample.extents`).

    Attributes:
      shard: where it is.
      start: offset of the first byte, in the uncompressed tar; or its first row.
      end: offset after the last byte, in the uncompressed tar; or the row after its last one.
      ordinal: which range of the shard this is, from 0.
      last: whether the shard ends here, so that end-of-archive blocks are due.
      compression: "" for a plain tar, else one of `tar.compression.COMPRESSIONS`.
      reading: how its members become samples.
      keys_return: whether a key comes back in this shard after another one, so that ranges may share a key.
      rows_bytes: of a run of rows, about how many bytes it holds.
      regathered: whether it is of some samples of a range, which `BatchSamples` made a batch of.
    """

    shard: Shard
    start: int
    end: int
    ordinal: int
    last: bool
    compression: str = ""
    reading: Reading = DEFAULT_READING
    keys_return: bool = False
    rows_bytes: int = dataclasses.field(default=0, compare=False)
    regathered: bool = False

    @property
    def rows(self) -> Sequence[int]:
        """The rows of a run of rows, which its samples are."""
        return range(self.start, self.end)

    @property
    def size_bytes(self) -> int:
        """How many bytes it holds, in the uncompressed tar; about how many, if it is a run of rows."""
        return self.rows_bytes if self.shard.format else self.end - self.start

    @property
    def url(self) -> str:
        """The url by which the job knows the shard."""
        return self.shard.url

    @property
    def identity(self) -> dict[str, Any]:
        """What tells it from all others."""
        return {
            "shard": self.shard.identity,
            "start": self.start,
            "end": self.end,
            "ordinal": self.ordinal,
            "last": self.last,
            "compression": self.compression,
            "reading": self.reading.identity,
            "keys_return": self.keys_return,
        }

    @property
    def name(self) -> str:
        """A file name's stem for what is written about this range: readable, and unique among all ranges; in the order
        of the shard."""
        return f"{self.shard.name}-{self.ordinal:05d}" + (f"_{self.start:012d}" if self.regathered else "")


@dataclasses.dataclass(frozen=True)
class ShardError:
    """Why a shard could not be read to its end."""

    url: str
    offset: int
    reason: str


RETURNING_KEYS, REPEATED_KEYS, DOTTED_NAMES = "returning_keys", "repeated_keys", "dotted_names"


@dataclasses.dataclass(frozen=True, order=True)
class Finding:
    """Something about a shard that its owner should know, since samples may not be what they were meant to be.

    Attributes:
      kind: `RETURNING_KEYS`: samples whose key stood before in the shard, with members of other extensions, so that
        they may be the rest of a sample; `REPEATED_KEYS`: samples that repeat key and extensions; `DOTTED_NAMES`:
        samples that hold several images, perhaps because a key ends at the first dot of a name.
      url: the shard.
      offset: where the first of these samples stands in the uncompressed tar.
      key: of the first of them; for `DOTTED_NAMES` the name of its first image.
      samples: how many of them there are.
    """

    kind: str
    url: str
    offset: int
    key: str
    samples: int


@dataclasses.dataclass(frozen=True)
class Member:
    """One file of a sample.

    Attributes:
      extension: what follows the first dot of its base name, lower-cased: "jpg", "txt", "seg.png".
      offset: where its data begins in the uncompressed tar; in other formats, in the sample's own run of bytes
        (`sources.records`).
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
    """A WebDataset sample: members of a tar that share a key, as a rule consecutive ones.

    Attributes:
      key: path up to the first dot of the base name.
      offset: where its first header begins in the uncompressed tar; in other formats, which row of its shard it is.
      span_bytes: how much of the tar it takes, headers and padding included; from `offset` on, unless it has `extents`.
      members: by extension, in the order of the tar.
      failure: why the sample cannot be used, or None.
      headers_crc32: the CRC-32 of all its bytes that are not its members' data, once they were read.
      extents: (offset, size) of each piece of the uncompressed tar that it takes, in the order of its members, where it
        takes more than one: members stand apart (`Reading.group_by_key`), or are links to data elsewhere.
      same_key: how many samples of the shard have this key.
      row: its ledger columns, where `ExplodeSamples` made it.
      embedding: float16 [dim], L2-normalised, where `ExplodeSamples` made it from an embedded batch.
      more_embeddings: float16 [m, dim], of its other images, where `ExplodeSamples` made it from a batch that has them.
      range: the range it came from, where `ExplodeSamples` made it.
      models: what gave its scores, where `ExplodeSamples` made it.
      of_batch: what is told of the batch as a whole, by the names of its attributes, on the first sample that
        `ExplodeSamples` made of it.
    """

    key: str
    offset: int
    span_bytes: int
    members: Mapping[str, Member]
    failure: str | None = None
    headers_crc32: int | None = None
    extents: tuple[tuple[int, int], ...] = ()
    same_key: int = dataclasses.field(default=1, compare=False)
    row: Mapping[str, Any] | None = dataclasses.field(default=None, repr=False)
    embedding: np.ndarray | None = dataclasses.field(default=None, compare=False, repr=False)
    range: ShardRange | None = dataclasses.field(default=None, repr=False)
    models: Mapping[str, ModelIdentity] = dataclasses.field(default_factory=dict, repr=False)
    more_embeddings: np.ndarray | None = dataclasses.field(default=None, compare=False, repr=False)
    of_batch: Mapping[str, Any] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    @property
    def end(self) -> int:
        """Where the last piece of it ends in the uncompressed tar."""
        return max((offset + size for offset, size in self.extents), default=self.offset + self.span_bytes)


def sample_id(shard: Shard, offset: int, key: str, headers_crc32: int | None) -> str:
    """A sample's identity, `SHARD:OFFSET:CHECK`: the shard's label, where in the uncompressed tar the sample begins,
    and 8 hex digits of its key and headers (the names, sizes and dates of its members), by which samples at the same
    place of other shards of that name are told apart.

    It is the same wherever the input is copied to.

    Args:
      shard: the shard; without a label, its file name.
      offset: of the sample.
      key: of the sample, as the ledger has it.
      headers_crc32: as `Sample` has it.
    """
    check = zlib.crc32(f"{headers_crc32 or 0:08x} {key}".encode("utf-8", "surrogatepass"))
    return f"{shard.called}:{offset}:{check:08x}"


def shard_in(sample_id: str) -> str:
    """What a sample's identity calls its shard."""
    return sample_id.rsplit(":", 2)[0]


@dataclasses.dataclass(frozen=True)
class SampleBatch:
    """The samples of one range, as one Beam element.

    Attributes:
      range: where they come from.
      rows: one row per sample, in the order of the tar: the ledger columns known so far (see `beam_curator.rows`).
      samples: n samples, with bytes on the worker that read them; None once the scores are written.
      embeddings: float16 [n, dim], L2-normalised, zeros for samples that failed; None before they are embedded and
        once they are written. Of a sample's first image, where all its images are embedded.
      models: what gave embeddings and scores: step ("embedding", "aesthetic", ...) to the model's identity.
      errors: why the shard could not be read to its end, if so.
      part: url of the Parquet file that holds these rows with their embeddings, once it is written.
      batch_reductions: how often the model's micro-batch was halved while these were embedded, for want of memory.
      judged: how each rule fared with these rows, once they are selected.
      passed_over: how many entries of the tar belong to no sample, by kind (see `tar.names`); directories are not
        counted.
      findings: what else is to be told of the shard.
      more_embeddings: float16 [m, dim] of samples' other images, with `Reading.several_images` "all"; None as
        `embeddings`.
      more_of: int64 [m], the index of the sample that each of them is of, ascending.
      fields: what was met of the fields of the samples' metadata; None where nobody looked.
      spans: when this run worked on it, by phase (see `phases`).
      text_embeddings: float16 [n, dim], L2-normalised, of the captions, zeros where there is none; None where they are
        not kept, before they are embedded, and once they are written.
      caption_tokens: int32 [n, tokens], of the captions, where they were made while pictures were decoded, until they
        are embedded; zeros where there are none.
    """

    range: ShardRange
    rows: pa.Table
    samples: Sequence[Sample] | None = None
    embeddings: np.ndarray | None = None
    models: Mapping[str, ModelIdentity] = dataclasses.field(default_factory=dict)
    errors: tuple[ShardError, ...] = ()
    part: str | None = None
    batch_reductions: int = 0
    judged: Tallies = dataclasses.field(default_factory=dict)
    passed_over: Mapping[str, int] = dataclasses.field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    more_embeddings: np.ndarray | None = None
    more_of: np.ndarray | None = None
    fields: FieldsFound | None = None
    spans: Mapping[str, Span] = dataclasses.field(default_factory=dict, compare=False)
    text_embeddings: np.ndarray | None = None
    caption_tokens: np.ndarray | None = None

    def __len__(self) -> int:
        return self.rows.num_rows

    def replace(self, **changes: Any) -> SampleBatch:
        """The same batch with these attributes changed."""
        return dataclasses.replace(self, **changes)


def checked_batch(given: Any) -> SampleBatch:
    """A batch as a caller gave it.

    Raises:
      UsageError: for what is none.
    """
    if not isinstance(given, SampleBatch):
        raise UsageError(f"a {type(given).__name__} is no SampleBatch: give one, of bc.batch_of or of a pipeline")
    return given
