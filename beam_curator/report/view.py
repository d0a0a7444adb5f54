"""Holds some rows of the ledger as figures are made of them: each column is computed once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from beam_curator import rows
from beam_curator.output.outcomes import reason_kind
from beam_curator.report.binning import places_of, ratio_places_of
from beam_curator.report.columns import ASPECT_RATIO, identities, numbers_of
from beam_curator.report.ledger_files import Piece

Scalar = TypeVar("Scalar", bound=np.generic)


class View:
    """Rows that follow each other in the ledger.

    Attributes:
      table: n rows.
    """

    def __init__(self, table: pa.Table, pieces: Sequence[Piece] = (Piece(),)) -> None:
        self.table = table
        self._pieces = np.array(pieces, np.int64).reshape(-1, 3)
        self._numbers: dict[str, NDArray[np.float64]] = {}
        self._ends: dict[str, tuple[float, float]] = {}
        self._places: dict[str, NDArray[np.int64]] = {}

    @property
    def file(self) -> int:
        """The place among the ledger's files of the first one that has any of the rows."""
        return int(self._pieces[:, 1].min())

    def __len__(self) -> int:
        return self.table.num_rows

    def stand(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Finds where m of the rows stand: int64 [m, 2], the file's place in the ledger, and the row in it."""
        begin, file, first = self._pieces.T
        piece = np.searchsorted(begin, rows, "right") - 1
        return np.stack([file[piece], first[piece] + rows - begin[piece]], axis=1)

    def places(self, name: str, edges: Sequence[float]) -> NDArray[np.int64]:
        """Between which of these cuts, always the same for a measure, each row lies: as `binning` tells it."""
        if name not in self._places:
            values = self.numbers(name)
            self._places[name] = (
                ratio_places_of(values, self.numbers("width"), self.numbers("height"), edges)
                if name == ASPECT_RATIO
                else places_of(values, edges)
            )
        return self._places[name]

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A measure: float64 [n], NaN where there is none."""
        if name not in self._numbers:
            self._numbers[name] = numbers_of(self.table, name)
        return self._numbers[name]

    def ends(self, name: str) -> tuple[float, float]:
        """The least and the greatest number of a measure; where there is none, infinity and its opposite."""
        if name not in self._ends:
            there = self.numbers(name)
            self._ends[name] = (
                float(np.fmin.reduce(there, initial=np.inf)),
                float(np.fmax.reduce(there, initial=-np.inf)),
            )
        return self._ends[name]

    @functools.cached_property
    def kept(self) -> NDArray[np.bool_]:
        """The rows that are kept: bool [n]."""
        return self._has_status(rows.KEPT)

    @functools.cached_property
    def failed(self) -> NDArray[np.bool_]:
        """The rows that failed: bool [n]."""
        return self._has_status(rows.FAILED)

    @functools.cached_property
    def statuses(self) -> NDArray[np.int64]:
        """0 for each row that was dropped, 1 for one that is kept, 2 for one that failed: int64 [n]."""
        return self.by_outcome(lambda of, _: (of == rows.KEPT) + 2 * (of == rows.FAILED), np.int64)

    def _has_status(self, status: str) -> NDArray[np.bool_]:
        return self.by_outcome(lambda of, _: of == status, np.bool_)

    def by_outcome(
        self, told: Callable[[str, str], Any], dtype: type[Scalar], rows: NDArray[np.int64] | None = None
    ) -> NDArray[Scalar]:
        """Gives what `told` says of the status and kind of reason of m of the rows: [m]; of all where `rows` is
        None."""
        outcomes, codes = self._reasons
        return np.array([told(*one) for one in outcomes], dtype)[codes if rows is None else codes[rows]]

    @functools.cached_property
    def identities(self) -> NDArray[np.uint64]:
        """The hashes that decide which of several equal rows is shown: uint64 [n]."""
        return identities(self.table)

    @functools.cached_property
    def random_ranks(self) -> NDArray[np.float64]:
        """Ranks by which rows come in no order that means anything, the same for ever: float64 [n]."""
        return self.identities.astype(np.float64)

    @functools.cached_property
    def _reasons(self) -> tuple[list[tuple[str, str]], NDArray[np.int64]]:
        """The outcomes that there are, (status, kind of reason), and which one each row has."""
        (names, of_status), (reasons, of_reason) = encoded(self.table["status"]), encoded(self.table["reason"])
        codes = of_status * len(reasons) + of_reason
        return [(of, reason_kind(of, why)) for of in names for why in reasons], codes

    @functools.cached_property
    def outcomes(self) -> dict[tuple[str, str], int]:
        """Counts the rows of each outcome: (status, kind of reason)."""
        outcomes, codes = self._reasons
        found: dict[tuple[str, str], int] = {}
        for outcome, count in zip(outcomes, np.bincount(codes, minlength=len(outcomes)).tolist(), strict=True):
            if count:
                found[outcome] = found.get(outcome, 0) + count
        return found

    def has_reason(self, status: str, *reasons: str) -> NDArray[np.bool_]:
        """Tells which rows have this status for one of these kinds of reasons: bool [n]."""
        return self.by_outcome(lambda of, why: of == status and why in reasons, np.bool_)


def encoded(column: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int64]]:
    """The texts of a column, "" for none among them, and the number of each row's."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    found = column.unify_dictionaries().combine_chunks()
    found = found if isinstance(found, pa.DictionaryArray) else found.chunk(0)
    texts = [text or "" for text in found.dictionary.to_pylist()]
    return [*texts, ""], pc.fill_null(found.indices, len(texts)).to_numpy(zero_copy_only=False).astype(np.int64)
