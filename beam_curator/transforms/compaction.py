"""The ledger of very many ranges: their pieces, each written where its range was placed, joined by many workers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import apache_beam as beam

from beam_curator.output.compaction import Piece, join
from beam_curator.output.packing import Packing
from beam_curator.transforms.claims import OnTitle, Title
from beam_curator.transforms.packing import PackingStep
from beam_curator.transforms.spilling import Spillable

_GO_TOGETHER, _MOST_WAITING = 100, 50_000
"""So many pieces of a file travel together; a bundle holds so many of all files, some 40 MB, at most."""

_Packed = tuple[int, Spillable]
_Pieces = tuple[int, Iterable[Spillable]]


class _Pack(PackingStep):
    """Sends pieces to whoever joins their file, some together."""

    def packing(self) -> Packing[int, Piece, Spillable]:
        return Packing(_GO_TOGETHER, Spillable, _MOST_WAITING)

    def process(self, piece: tuple[int, Piece]) -> Iterator[_Packed]:
        yield from self._packing.add(*piece)


class _Join(OnTitle):
    """Writes a file of the ledger; gives its name."""

    def __init__(self, output: str, title: Title) -> None:
        super().__init__(title)
        self._output = output

    def process(self, pieces: _Pieces) -> Iterable[str]:
        self._title.confirm()
        index, packs = pieces
        yield join(self._output, index, itertools.chain.from_iterable(pack.value for pack in packs))


@beam.typehints.with_input_types(tuple[int, Piece])
@beam.typehints.with_output_types(str)
class JoinPieces(beam.PTransform):
    """Joins pieces by the number of their file: takes (number, piece), gives the names of the files."""

    def __init__(self, output: str, title: Title) -> None:
        super().__init__()
        self._output, self._title = output, title

    def expand(self, pieces: beam.PCollection[tuple[int, Piece]]) -> beam.PCollection[str]:
        packed = pieces | "Pack" >> beam.ParDo(_Pack()).with_output_types(_Packed)
        grouped = packed | "ByFile" >> beam.GroupByKey().with_output_types(_Pieces)
        return grouped | "Join" >> beam.ParDo(_Join(self._output, self._title)).with_output_types(str)
