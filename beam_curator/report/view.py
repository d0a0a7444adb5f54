"""Some rows of the ledger as figures are made of them: each column is computed once."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from beam_curator import rows
from beam_curator.output.outcomes import reason_kind
from beam_curator.report.binning import places_of
from beam_curator.report.columns import has_status, identities, numbers_of


class View:
    """The rows of one file.

    Attributes:
      table: n rows.
      file: the file's place among those of the ledger.
    """

    def __init__(self, table: pa.Table, file: int = 0) -> None:
        self.table, self.file = table, file
        self._numbers: dict[str, NDArray[np.float64]] = {}
        self._places: dict[str, NDArray[np.int64]] = {}

    def __len__(self) -> int:
        return self.table.num_rows

    def places(self, name: str, edges: Sequence[float]) -> NDArray[np.int64]:
        """Between which of these cuts, always the same for a measure, each row lies: as `binning.places_of`."""
        if name not in self._places:
            self._places[name] = places_of(self.table, name, edges)
        return self._places[name]

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A measure: float64 [n], NaN where there is none."""
        if name not in self._numbers:
            self._numbers[name] = numbers_of(self.table, name)
        return self._numbers[name]

    @functools.cached_property
    def kept(self) -> NDArray[np.bool_]:
        """Which rows are kept: bool [n]."""
        return has_status(self.table, rows.KEPT)

    @functools.cached_property
    def failed(self) -> NDArray[np.bool_]:
        """Which rows failed: bool [n]."""
        return has_status(self.table, rows.FAILED)

    @functools.cached_property
    def identities(self) -> NDArray[np.uint64]:
        """What decides which of several equal rows is shown: uint64 [n]."""
        return identities(self.table)

    @functools.cached_property
    def _reasons(self) -> tuple[list[tuple[str, str]], NDArray[np.int64]]:
        """The outcomes that there are, (status, kind of reason), and which one each row has."""
        status, reason = _encoded(self.table["status"]), _encoded(pc.fill_null(self.table["reason"], ""))
        names, reasons = status.dictionary.to_pylist(), reason.dictionary.to_pylist()
        codes = status.indices.to_numpy().astype(np.int64) * len(reasons) + reason.indices.to_numpy()
        return [(of, reason_kind(of, why)) for of in names for why in reasons], codes

    def outcomes(self) -> dict[tuple[str, str], int]:
        """How many rows have each outcome: (status, kind of reason)."""
        outcomes, codes = self._reasons
        found: dict[tuple[str, str], int] = {}
        for outcome, count in zip(outcomes, np.bincount(codes, minlength=len(outcomes)).tolist(), strict=True):
            if count:
                found[outcome] = found.get(outcome, 0) + count
        return found

    def has_reason(self, status: str, *reasons: str) -> NDArray[np.bool_]:
        """Which rows have this status for one of these kinds of reasons: bool [n]."""
        outcomes, codes = self._reasons
        wanted = np.array([one[0] == status and one[1] in reasons for one in outcomes], bool)
        return wanted[codes] if len(outcomes) else np.zeros(len(self), bool)


def _encoded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    return column.combine_chunks().dictionary_encode()
