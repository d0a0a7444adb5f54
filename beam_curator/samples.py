"""The values that flow through a pipeline: `Shard`, `ShardRange`, `Sample`, `Member`, and `SampleBatch`.

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
    r"""Makes text that UTF-8 can hold: bytes of a name that were not UTF-8 are shown as \xNN."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


Buffer = bytes | memoryview


@dataclasses.dataclass(frozen=True, order=True, slots=True)
class Shard:
    """A file of samples, such as a tar or a Parquet file; or a group of image files of a folder or of a list.

    Attributes:
      url: path or bucket url by which the job knows the shard, in every run.
      size_bytes: its size in storage.
      generation: text that changes when the shard's content does, made from checksums, sizes or times of change.
      location: path or url at which the shard is read, where that differs from `url` (the input was moved); "" where it
        does not. Two shards that differ in it alone are equal.
      label: name of the shard in the ids of its samples, as a rule its file name (see `shard_identity.labelled`); ""
        for the file name. Two shards that differ in it alone are equal.
      format: name of the `Source` that reads it (see `sources.source`); "" for a tar.
      listing: for a group of listed files, their paths as `sources.listing` encodes them; `generation` covers it.
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
        """Path or url at which the shard is read."""
        return self.location or self.url

    @property
    def identity(self) -> dict[str, Any]:
        """The fields by which shards are equal, as JSON: they differ between two shards, and when the content
        changes."""
        others = {"format": self.format} if self.format else {}
        return {"url": self.url, "size_bytes": self.size_bytes, "generation": self.generation, **others}

    @property
    def called(self) -> str:
        """Name of the shard in the ids of its samples."""
        return self.label or self.url.rpartition("/")[2]

    @property
    def name(self) -> str:
        """Stem of the names of files about this shard, such as "00000-1a2b3c4d5e": readable, unique for its url."""
        stem = re.sub(
            r"\.(tar|parquet|tgz|gz|bz2|xz|tbz2?|txz|lzma|zst|tzst|lz4|tlz4)\b", "", self.url.rsplit("/", 1)[-1]
        )
        stem = re.sub(r"[^A-Za-z0-9._-]", "_", stem)[:80]
        return f"{stem}-{hashlib.sha256(self.url.encode()).hexdigest()[:10]}"


@dataclasses.dataclass(frozen=True, order=True)
class ShardRange:
    """The unit of work: a byte range of one tar that begins and ends at sample boundaries, or a run of rows of a shard
    in another format.

    A range has the samples whose first member begins in it; other bytes of these samples may be elsewhere in the shard
    (`Sample.extents`).

    Attributes:
      shard: the shard that it is a part of.
      start: offset of its first byte in the uncompressed tar; in other formats, index of its first row.
      end: offset behind its last byte in the uncompressed tar; in other formats, index behind its last row.
      ordinal: index of the range in its shard, from 0.
      last: whether it is the last range of its shard, behind which the tar's end-of-archive blocks are expected.
      compression: "" for a plain tar, else one of `tar.compression.COMPRESSIONS`.
      reading: how its members become samples.
      keys_return: whether a key of this shard comes again after another key, so that two ranges may share a key.
      rows_bytes: for a run of rows, about how many bytes they hold.
      regathered: whether `BatchSamples` made it of some of a range's samples, so that it is less than a range was.
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
        """Indices of its rows, one for each sample; for formats other than tar."""
        return range(self.start, self.end)

    @property
    def size_bytes(self) -> int:
        """Its size in the uncompressed tar; for a run of rows, an estimate."""
        return self.rows_bytes if self.shard.format else self.end - self.start

    @property
    def url(self) -> str:
        """The url by which the job knows the shard."""
        return self.shard.url

    @property
    def identity(self) -> dict[str, Any]:
        """The part that decides the range's samples and rows, as JSON: it goes into the fingerprint of its score
        part."""
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
        """Stem of the names of files about this range: readable, unique, and sorted in the order of the shard."""
        return f"{self.shard.name}-{self.ordinal:05d}" + (f"_{self.start:012d}" if self.regathered else "")


@dataclasses.dataclass(frozen=True)
class ShardError:
    """Why a shard could not be read to its end.

    Attributes:
      url: the shard.
      offset: where reading stopped, in the uncompressed tar; for a format that is read by rows, 0.
      reason: what was met there, in one line.
    """

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
      key: the key of the first of these samples; for `DOTTED_NAMES` the name of its first image.
      samples: how many such samples the shard has.
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
      span_bytes: how many bytes of the uncompressed tar it takes, headers and padding included: those from `offset` on,
        unless it has `extents`.
      members: its members by extension, in the order of the tar.
      failure: why the sample cannot be used; None if it can.
      headers_crc32: CRC-32 of all its bytes but its members' data; None until they are read.
      extents: (offset, size) of each piece of the uncompressed tar that the sample takes, in the order of its members,
        where these are several: its members stand apart (`Reading.group_by_key`), or are links to data elsewhere. Empty
        where it is one piece.
      same_key: how many samples of the shard have this key.
      row: its ledger columns by name.
      embedding: float16 [dim], L2-normalised, if the batch was embedded.
      more_embeddings: float16 [m, dim], L2-normalised, of its other images, if the batch had them.
      range: the range it came from.
      models: the models that gave its embedding and scores, as `SampleBatch.models`.
      of_batch: attributes of the `SampleBatch` that are about the batch as a whole (its errors, tallies and findings),
        by name; the batch's first sample carries them for `BatchSamples`.

    `row` and all attributes after it are set by `ExplodeSamples` alone.
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
        """Offset behind its last byte in the uncompressed tar."""
        return max((offset + size for offset, size in self.extents), default=self.offset + self.span_bytes)


def sample_id(shard: Shard, offset: int, key: str, headers_crc32: int | None) -> str:
    """The id of a sample, `SHARD:OFFSET:CHECK`, such as "00000.tar:512:1a2b3c4d".

    SHARD is the shard's label, OFFSET the sample's place in the uncompressed tar, CHECK 8 hex digits of the CRC-32 of
    its key and headers (the names, sizes and dates of its members): it differs between samples at the same place of two
    shards with the same name. The id stays the same when the input is copied or moved.

    Args:
      shard: the shard; without a label its file name is taken.
      offset: `Sample.offset`.
      key: the sample's key, as the ledger has it.
      headers_crc32: `Sample.headers_crc32`.
    """
    check = zlib.crc32(f"{headers_crc32 or 0:08x} {key}".encode("utf-8", "surrogatepass"))
    return f"{shard.called}:{offset}:{check:08x}"


def shard_in(sample_id: str) -> str:
    """The SHARD of a sample's id: the label of its shard."""
    return sample_id.rsplit(":", 2)[0]


@dataclasses.dataclass(frozen=True)
class SampleBatch:
    """The samples of one range, as one Beam element.

    Attributes:
      range: the range that the samples come from.
      rows: a row for each of the n samples, in the order of the tar: the columns of the ledger as far as they are known
        (see `beam_curator.rows`).
      samples: the n samples, with their bytes on the worker that read them; None once the scores are written.
      embeddings: float16 [n, dim], L2-normalised, of each sample's image (its first, if all are embedded), zeros for
        samples that failed; None before the batch is embedded and once the embeddings are written.
      models: the identity of the model that gave each step's numbers, by step: "embedding", "aesthetic", ...
      errors: why the shard could not be read to its end; empty if it was.
      part: url of the Parquet file that holds these rows with their embeddings; None until it is written.
      batch_reductions: how often the micro-batch of the model was halved for want of memory, while it embedded these.
      judged: tally of each rule on these rows, by the rule's name, once they are selected.
      passed_over: how many entries of the tar belong to no sample, by kind (see `tar.names`); directories are not
        counted.
      findings: other oddities of the shard that its owner should know.
      more_embeddings: float16 [m, dim], L2-normalised, of the samples' other images, where `Reading.several_images` is
        "all"; None when `embeddings` is.
      more_of: int64 [m], ascending: for each of `more_embeddings`, the index of its sample.
      fields: tallies of the fields of the samples' metadata; None where nobody looked for fields.
      spans: when this run worked on the batch, by phase (see `phases`).
      text_embeddings: float16 [n, dim], L2-normalised, of the captions, zeros for samples without one; None where
        captions are not embedded, before they are, and once these embeddings are written.
      caption_tokens: int32 [n, tokens] of the captions, zeros for samples without one, where they are tokenised while
        images are decoded; None otherwise, and once the captions are embedded.
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
    """The same batch, after a check that the caller gave one.

    Raises:
      UsageError: it is no `SampleBatch`.
    """
    if not isinstance(given, SampleBatch):
        raise UsageError(f"a {type(given).__name__} is no SampleBatch: give one, of bc.batch_of or of a pipeline")
    return given
