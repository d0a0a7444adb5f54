"""The ledger of very many ranges: their pieces, each written where its range was placed, joined by many workers."""

from __future__ import annotations

from collections.abc import Iterable

import apache_beam as beam

from beam_curator.output.compaction import Piece, join
from beam_curator.transforms.claims import OnTitle, Title

_Pieces = tuple[int, Iterable[Piece]]


class _Join(OnTitle):
    """Writes a file of the ledger; gives its name."""

    def __init__(self, output: str, title: Title) -> None:
        super().__init__(title)
        self._output = output

    def process(self, pieces: _Pieces) -> Iterable[str]:
        self._title.confirm()
        yield join(self._output, *pieces)


@beam.typehints.with_input_types(tuple[int, Piece])
@beam.typehints.with_output_types(str)
class JoinPieces(beam.PTransform):
    """Joins pieces by the number of their file: takes (number, piece), gives the names of the files."""

    def __init__(self, output: str, title: Title) -> None:
        super().__init__()
        self._output, self._title = output, title

    def expand(self, pieces: beam.PCollection[tuple[int, Piece]]) -> beam.PCollection[str]:
        grouped = pieces | "ByFile" >> beam.GroupByKey().with_output_types(_Pieces)
        return grouped | "Join" >> beam.ParDo(_Join(self._output, self._title)).with_output_types(str)
