"""Kept samples as they go into an output tar: their members copied from the shard, and what curation adds to them.

An output tar is written from two kinds of memory. One read of the shard gives `data`, with the members of a few
samples. A frame (`framing`) has all the rest, made for many samples at once: headers, padding, what curation adds, and
places for small data. Of large data, the frame has no whole blocks:

    data    | header | small | header | large ............ | padding | header of the next sample ...
                         |                    |
                         v                    |
    frame   | header | small | header |       | end | padding | header | .npy | header | .json | next sample ...
            ^                         ^       |     ^                                          ^
            begin                     place   |     place + size - left_out                    end
                                              v
    pieces  | frame[begin:place]      | large, as it lies | frame, from there to where the next large data goes ...

So a tar is a list of pieces, each of which is a view of the frame or of what was read; large data is never copied in
memory. What stands between the members in the shard is not copied at all: only its CRC-32 is looked at.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_curator.errors import JobError
from beam_curator.identities import ModelIdentity
from beam_curator.output.added_members import (
    CURATION_EXTENSION,
    curation_files,
    embedding_extension,
    embedding_files,
    own_extension,
)
from beam_curator.output.part_contents import embeddings_of, forget_part
from beam_curator.output.placing import PlacedSamples
from beam_curator.samples import Buffer
from beam_curator.sources.ranges import read_records_laid
from beam_curator.sources.records import laid
from beam_curator.sources.shard_identity import has_changed_unnoticed
from beam_curator.sources.tar.extents import EXTENTS, Extent, extents_from, laid_samples
from beam_curator.sources.tar.framing import framed
from beam_curator.sources.tar.headers import TarBroken
from beam_curator.sources.tar.member_table import MemberTable, with_offsets
from beam_curator.sources.tar.span_reading import CHANGED, read_laid, read_spans_at
from beam_curator.storage.local_writing import SMALL_BYTES

SAMPLES_AT_ONCE = 1024
"""So many samples' records and names are made together, by the column: one by one, they take five times as long."""

FRAMED_AT_ONCE = 256
"""So many samples' headers are made together: few enough to be in the processor's cache until they are written."""


def copied_samples(run: PlacedSamples, stored: pa.Table) -> Iterator[list[Buffer]]:
    """The bytes of a run's samples as they go into the tar, in pieces, for the samples of one read after the other.

    Headers of the input are not parsed again: where members stand is known, and that all but their data is what it
    was when they were scored is told by its CRC-32.

    Args:
      run: n samples.
      stored: n rows, what `part_contents.read_stored` gives of them.

    Raises:
      JobError: when the shard no longer holds what was scored.
      StorageError: when it cannot be read.
    """
    spans = list(zip(*run.spans.T.tolist(), strict=True))
    offset_of: Mapping[int, int] = {}
    if run.range.shard.format:
        stored, places, reads = _laid_rows(run, stored, spans)
        offset_of = {place: row for (place, _), (row, _) in zip(places, spans, strict=True)}
    elif stored[EXTENTS].null_count < stored.num_rows:
        stored, places, reads = _laid(run, stored, spans)
        offset_of = {place: offset for (place, _), (offset, _) in zip(places, spans, strict=True)}
    else:
        reads = read_spans_at(run.range, spans)
    outlines = _outlines(run, stored)
    try:
        for some, data in reads:
            pieces = _pieces(memoryview(data), some[0][0], zip(some, outlines, strict=False))
            del data  # so that the memory of what is written is taken for the next read
            yield pieces
            del pieces
    except TarBroken as broken:
        if has_changed_unnoticed(run.range.shard):
            forget_part(run.part)  # or the same command would take it for the shard's once more
        place = offset_of.get(broken.offset, broken.offset)
        at = f"{broken.reason} in row {place}" if run.range.shard.format else TarBroken(place, broken.reason)
        raise JobError(f"{run.range.url}: {at}; run the same command again to score it anew") from broken


def _laid(
    run: PlacedSamples, stored: pa.Table, spans: Sequence[Extent]
) -> tuple[pa.Table, Sequence[Extent], Iterator[tuple[Sequence[Extent], bytes]]]:
    """A run some of whose samples stand in several pieces of the shard, as if it stood in one piece, from 0 on: what is
    stored of it, its spans, and what `read_spans_at` would give."""
    extents = [its or [span] for its, span in zip(extents_from(stored[EXTENTS]), spans, strict=True)]
    table = MemberTable.of(stored)
    members = list(zip(table.offsets.tolist(), table.sizes.tolist(), strict=True))
    of_each = [members[begin:end] for begin, end in itertools.pairwise(table.first.tolist())]
    spans, places = laid_samples(extents, of_each)
    offsets = pa.array([place for its in places for place in its], pa.int64())
    return with_offsets(stored, offsets), spans, read_laid(run.range, spans, extents)


def _laid_rows(
    run: PlacedSamples, stored: pa.Table, spans: Sequence[Extent]
) -> tuple[pa.Table, Sequence[Extent], Iterator[tuple[Sequence[Extent], bytes]]]:
    """Lays out rows of a shard that is no tar, as `_laid` does; there, members' places count from each row's own
    beginning."""
    table = MemberTable.of(stored)
    laid_spans = laid(size for _, size in spans)
    before = np.repeat(np.array([place for place, _ in laid_spans], np.int64), np.diff(table.first))
    reads = read_records_laid(run.range, [row for row, _ in spans], laid_spans)
    return with_offsets(stored, pa.array(table.offsets + before, pa.int64())), laid_spans, reads


_MemberPlace = tuple[int, int, int, int]
"""The place that one member's data comes from, and the one that it goes to: where it begins in the input's tar; its
size; how many of its bytes have no place in the frame (0 for small data, the whole blocks of large data); and where in
the frame it belongs, where large data takes the place of its end alone. All in bytes. A plain tuple: a name for each
costs a microsecond."""


class _Outline(NamedTuple):
    """A sample as it will stand in the output, before its members' data is read.

    Attributes:
      key: in the input.
      headers_crc32: of all that is not members' data there; None where it was not read whole.
      members: of the sample's own.
      frame: of this sample and of its neighbours.
      begin: where the sample begins in the frame.
      end: where it ends in the frame.
    """

    key: str
    headers_crc32: int | None
    members: list[_MemberPlace]
    frame: memoryview
    begin: int
    end: int


_as_outline: Callable[[Iterable[Any]], _Outline] = functools.partial(tuple.__new__, _Outline)
"""Makes outlines as `_Outline._make` does, in a fraction of its time: there are millions of them."""


def _pieces(data: memoryview, start: int, samples: Iterator[tuple[Extent, _Outline]]) -> list[Buffer]:
    """Samples as they go into the tar.

    Args:
      data: what one read of the shard gave.
      start: where in the tar it begins.
      samples: each one's (offset in the tar, span in bytes), and its outline.

    Raises:
      TarBroken: when the shard no longer holds what was scored.
    """
    pieces: list[Buffer] = []
    available = len(data)
    # Of the frame in hand, what comes before `written` is in `pieces`, and up to `filled` all data is put in.
    frame, written, filled = memoryview(b""), 0, 0
    for (offset, span_bytes), (key, headers_crc32, members, its_frame, frame_begin, frame_end) in samples:
        if its_frame is not frame:
            pieces.append(frame[written:filled])
            frame, written = its_frame, frame_begin
        crc, at = 0, offset - start  # as `member_table.headers_crc32`, on the way
        sample_end = at + span_bytes
        for begin, size, left_out, place in members:
            body = begin - start
            crc, at = crc32(data[at:body], crc), body + size
            if at > available:
                raise TarBroken(offset, f'{CHANGED}: "{key}" stood here')
            if left_out:  # all of it is taken from `data`, so that its end in the frame is passed over
                pieces += (frame[written:place], data[body:at])
                written = place + size - left_out
            else:
                frame[place : place + size] = data[body:at]
        if crc32(data[at:sample_end], crc) != headers_crc32:
            raise TarBroken(offset, f'{CHANGED}: "{key}" stood here')
        filled = frame_end
    pieces.append(frame[written:filled])
    return pieces


def _outlines(run: PlacedSamples, stored: pa.Table) -> Iterator[_Outline]:
    """Yields an outline for each of the run's samples; many are made at a time."""
    for first in range(0, run.rows.num_rows, SAMPLES_AT_ONCE):
        some = _Columns.of(run.rows.slice(first, SAMPLES_AT_ONCE), stored.slice(first, SAMPLES_AT_ONCE), run.models)
        for begin in range(0, len(some.keys), FRAMED_AT_ONCE):
            yield from _framed(some, begin, min(begin + FRAMED_AT_ONCE, len(some.keys)))


@dataclasses.dataclass(frozen=True)
class _Columns:
    """n samples with what curation adds to them, and all their members, by the column.

    Attributes:
      keys: of the samples in the input.
      table: where their members stand there.
      embeddings: uint8 [n, bytes], the .npy file of each.
      records: the .json file of each.
      own: int64 [m], which of all members in the output are the samples' own.
      added: int64 [n], which is the first of the two that are added to each sample.
      names: of all members.
      sizes: int64 [m + 2n], of all members.
    """

    keys: list[str]
    table: MemberTable
    embeddings: np.ndarray
    records: list[bytes]
    own: np.ndarray
    added: np.ndarray
    names: list[bytes]
    sizes: np.ndarray

    @classmethod
    def of(cls, rows: pa.Table, stored: pa.Table, models: Mapping[str, ModelIdentity]) -> _Columns:
        table = MemberTable.of(stored)
        embeddings = embedding_files(embeddings_of(stored))
        records = curation_files(rows, models).cast(pa.binary()).to_pylist()
        own, added = _order(np.diff(table.first))
        sizes = np.empty(len(own) + 2 * len(added), np.int64)
        sizes[own], sizes[added], sizes[added + 1] = table.sizes, embeddings.shape[1], [*map(len, records)]
        names = _names(rows["output_key"], table, own, added, embedding_extension(models)).to_pylist()
        return cls(rows["key"].to_pylist(), table, embeddings, records, own, added, names, sizes)


def _framed(some: _Columns, first: int, last: int) -> Iterator[_Outline]:
    """The outlines of samples first to last, in a frame of their own."""
    these, table = slice(first, last), some.table
    theirs = slice(table.first[first], table.first[last])
    members = slice(theirs.start + 2 * first, theirs.stop + 2 * last)
    own, added = some.own[theirs] - members.start, some.added[these] - members.start
    sizes = some.sizes[members]
    large = np.zeros(len(sizes), bool)
    large[own] = table.sizes[theirs] >= SMALL_BYTES
    frame = framed(some.names[members], sizes, large)
    frame.put_rows(added, some.embeddings[these])
    frame.put(added + 1, some.records[these])

    columns = (table.offsets[theirs], table.sizes[theirs], frame.left_out[own], frame.data_at[own])
    places = list(zip(*(column.tolist() for column in columns), strict=True))
    cuts = (table.first[first : last + 1] - theirs.start).tolist()
    of_each = [places[begin:end] for begin, end in itertools.pairwise(cuts)]
    ends = frame.end[added + 1].tolist()
    content = itertools.repeat(frame.content.data, len(ends))
    begins = [0, *ends[:-1]]
    fields = zip(some.keys[these], table.headers_crc32[these], of_each, content, begins, ends, strict=True)
    return map(_as_outline, fields)


def _order(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The places of all members when two that are added follow those of each sample.

    Args:
      counts: int64 [n], how many members each sample has of its own.

    Returns:
      int64 [sum of counts], the places of samples' own members, and int64 [n], that of the first one added to each.
    """
    added = np.cumsum(counts + 2) - 2
    is_own = np.ones(int(counts.sum()) + 2 * len(counts), bool)
    is_own[added] = is_own[added + 1] = False
    return np.flatnonzero(is_own), added


def _names(
    keys: pa.ChunkedArray, table: MemberTable, own: np.ndarray, ours: np.ndarray, embedding: str
) -> pa.BinaryArray:
    """The names of all members, in their order; `own` and `ours` are what `_order` gives."""
    found = table.extensions.dictionary_encode()
    kept = pa.array([_own_extension(extension, embedding) for extension in found.dictionary.to_pylist()], pa.binary())
    added = pa.array([embedding.encode(), CURATION_EXTENSION.encode()], pa.binary())
    which = np.empty(len(own) + 2 * len(ours), np.int64)
    which[own] = found.indices.to_numpy()
    which[ours], which[ours + 1] = len(kept), len(kept) + 1
    extensions = pa.concat_arrays([kept, added]).take(pa.array(which))
    of_sample = np.repeat(np.arange(len(keys)), np.diff(ours, prepend=-2))
    return pc.binary_join_element_wise(
        keys.combine_chunks().cast(pa.binary()).take(pa.array(of_sample)), extensions, b"."
    )


def _own_extension(extension: bytes, embedding: str) -> bytes:
    return own_extension(extension.decode("utf-8", "surrogateescape"), embedding).encode("utf-8", "surrogateescape")
