"""The pieces of a range as the one batch that it would be if it were read at once; of their bytes nothing is held."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from beam_curator import rows
from beam_curator.errors import CurationError
from beam_curator.identities import joined_models
from beam_curator.phases import sum_spans
from beam_curator.reading import Reading
from beam_curator.samples import Sample, SampleBatch
from beam_curator.sources.pieces import PieceOfRange, WholeRange
from beam_curator.sources.sample_images import images_of
from beam_curator.sources.tar.streaming import without_bytes


class JoinedPieces:
    """Takes the pieces of one range after the other, each range's in their order."""

    def __init__(self) -> None:
        self._pieces: list[PieceOfRange] = []

    def add(self, piece: PieceOfRange) -> SampleBatch | None:
        """The whole range where this is its last piece, without bytes; else None.

        Raises:
          CurationError: when the one before is not the piece before.
        """
        if piece.index != len(self._pieces) or any(before.range != piece.range for before in self._pieces[:1]):
            raise _strayed(piece)
        bare = [without_bytes(sample) for sample in piece.samples or ()]
        self._pieces.append(dataclasses.replace(piece, samples=bare))
        if piece.whole is None:
            return None
        pieces, self._pieces = self._pieces, []
        return joined(pieces)

    def check_whole(self) -> None:
        """Raises CurationError when pieces are left whose range is not whole."""
        if self._pieces:
            raise _strayed(self._pieces[0])


def _strayed(piece: PieceOfRange) -> CurationError:
    return CurationError(
        f"{piece.range.url}: pieces of a range went to several workers: what reads and embeds them must stay fused"
    )


def joined(pieces: Sequence[PieceOfRange]) -> SampleBatch:
    """Joins all pieces of a range into one batch; the samples need no bytes."""
    whole = pieces[-1].whole
    if whole is None:
        raise _strayed(pieces[-1])
    pieces = pieces[-1:] if whole.is_void else pieces
    passed_over = Counter[str]()
    for piece in pieces:
        passed_over.update(piece.passed_over)  # also with what was met no time, which adding leaves out
    last = pieces[-1]
    samples, same_key = _with_same_key([sample for piece in pieces for sample in piece.samples or ()], whole)
    table = _with_same_key_told(stacked_pieces([piece.rows for piece in pieces]), samples, same_key, last.range.reading)
    more_of = _joined([piece.more_of for piece in pieces])
    if more_of is not None:
        firsts = np.cumsum([0, *(len(piece) for piece in pieces[:-1])])
        more_of = more_of + np.repeat(firsts, [len(piece.more_of) for piece in pieces if piece.more_of is not None])
    return SampleBatch(
        last.range,
        _with_fields(table, whole.fields),
        samples,
        _joined([piece.embeddings for piece in pieces]),
        models=joined_models(piece.models for piece in pieces),
        errors=last.errors,
        batch_reductions=sum(piece.batch_reductions for piece in pieces),
        passed_over=dict(passed_over),
        findings=last.findings,
        more_embeddings=_joined([piece.more_embeddings for piece in pieces]),
        more_of=more_of,
        fields=last.fields,
        spans=sum_spans(piece.spans for piece in pieces),
        caption_tokens=_joined([piece.caption_tokens for piece in pieces]),
    )


def _joined(arrays: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Lays one array after the other, the narrower ones filled with zeros: in arrays of tokens, zeros are no
    caption."""
    there = [array for array in arrays if array is not None]
    if not there:
        return None
    if there[0].ndim < 2:
        return np.concatenate(there)
    width = max(array.shape[1] for array in there)
    return np.concatenate([np.pad(array, ((0, 0), (0, width - array.shape[1]))) for array in there])


def stacked_pieces(tables: Sequence[pa.Table]) -> pa.Table:
    """The rows of pieces, one after the other; what a scorer failed on is a column only where it failed on any."""
    return pa.concat_tables(tables, promote_options="default").combine_chunks()


def _with_fields(table: pa.Table, fields: pa.Table) -> pa.Table:
    """The rows with fields where a range that is read at once has them: behind what is known before any scorer."""
    known = [field.name for field in rows.fields_there(table.schema)]
    scored = table.drop_columns(known)
    table = rows.with_fields(table.select(known), fields)
    for field in scored.schema:
        table = table.append_column(field, scored[field.name])
    return table


def _with_same_key(samples: list[Sample], whole: WholeRange) -> tuple[list[Sample], Mapping[int, int]]:
    """The samples, with how many have the key of each; and that by index, where it is more than one."""
    found = {at: whole.same_key[one.key] for at, one in enumerate(samples) if one.key in whole.same_key}
    for at, count in found.items():
        samples[at] = dataclasses.replace(samples[at], same_key=count)
    return samples, found


def _with_same_key_told(
    table: pa.Table, samples: Sequence[Sample], same_key: Mapping[int, int], reading: Reading
) -> pa.Table:
    """The rows with what they say of keys that several samples have: so does the reason why one has no image."""
    if not same_key:
        return table
    columns = {name: table[name].to_pylist() for name in ("same_key", "failure", "reason")}
    for at, count in same_key.items():
        columns["same_key"][at] = count
        told = images_of(dataclasses.replace(samples[at], same_key=1), reading).failure
        for name in ("failure", "reason"):
            if told is not None and columns[name][at] == told:
                columns[name][at] = images_of(samples[at], reading).failure
    for name, values in columns.items():
        table = rows.with_column(table, name, values)
    return table
