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
from beam_curator.report.columns import identities, numbers_of


class View:
    """Rows that stand together in a file.

    Attributes:
      table: n rows.
      file: the file's place among those of the ledger.
      first: which row of the file the first one is.
    """

    def __init__(self, table: pa.Table, file: int = 0, first: int = 0) -> None:
        self.table, self.file, self.first = table, file, first
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
        return self._has_status(rows.KEPT)

    @functools.cached_property
    def failed(self) -> NDArray[np.bool_]:
        """Which rows failed: bool [n]."""
        return self._has_status(rows.FAILED)

    def _has_status(self, status: str) -> NDArray[np.bool_]:
        outcomes, codes = self._reasons
        return np.array([one[0] == status for one in outcomes], bool)[codes]

    @functools.cached_property
    def identities(self) -> NDArray[np.uint64]:
        """What decides which of several equal rows is shown: uint64 [n]."""
        return identities(self.table)

    @functools.cached_property
    def _reasons(self) -> tuple[list[tuple[str, str]], NDArray[np.int64]]:
        """The outcomes that there are, (status, kind of reason), and which one each row has."""
        (names, of_status), (reasons, of_reason) = _encoded(self.table["status"]), _encoded(self.table["reason"])
        codes = of_status * len(reasons) + of_reason
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


def _encoded(column: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int64]]:
    """The texts of a column, "" for none among them, and the number of each row's."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    encoded = column.unify_dictionaries().combine_chunks()
    encoded = encoded if isinstance(encoded, pa.DictionaryArray) else encoded.chunk(0)
    texts = [text or "" for text in encoded.dictionary.to_pylist()]
    return [*texts, ""], pc.fill_null(encoded.indices, len(texts)).to_numpy(zero_copy_only=False).astype(np.int64)
