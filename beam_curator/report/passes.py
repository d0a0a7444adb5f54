"""A pass over the ledger: which columns it looks at, and what it counts in them."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, TypeVar

import pyarrow as pa

from beam_curator.report.accumulators import Accumulator
from beam_curator.report.ledger_files import Held, LedgerFiles, no_rows
from beam_curator.report.view import View


class Pass(Accumulator, abc.ABC):
    """Counts of one pass over the ledger. Merging is commutative and associative, and an empty one changes nothing."""

    @property
    def is_needed(self) -> bool:
        """Whether it has anything to look for."""
        return True

    @abc.abstractmethod
    def columns(self, schema: pa.Schema) -> Sequence[str]:
        """Names the columns that it looks at, of files with this schema."""

    @abc.abstractmethod
    def add(self, view: View) -> None:
        """Counts some more rows."""

    @abc.abstractmethod
    def merge(self, other: Any) -> None:
        """Adds what another one of the same kind has counted in other rows; that is not to be used any more."""


PassT = TypeVar("PassT", bound=Pass)


def passed_over(ledger: LedgerFiles, one: PassT, held: Held = no_rows) -> PassT:
    """Adds all rows of some files to a pass; gives it.

    Args:
      ledger: the files.
      one: the pass.
      held: gives the rows of a file that need not be read, with all columns of the pass; None for any other.

    Raises:
      StorageError: when the ledger cannot be read.
    """
    if one.is_needed:
        for run in ledger.tables(one.columns, held):
            one.add(View(*run))
    return one
