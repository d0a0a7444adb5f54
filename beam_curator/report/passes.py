"""A pass over the ledger: which columns it looks at, and what it counts in them."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from beam_curator.report.accumulators import Accumulator
from beam_curator.report.ledger_files import Columns, Run
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


class Rows(Protocol):
    """Rows of the ledger, wherever they are."""

    def tables(self, wanted: Columns) -> Iterator[Run]:
        """All of them, many at a time, with the columns that are wanted of those that they have."""


def passed_over(found: Rows, one: PassT) -> PassT:
    """Adds rows of the ledger to a pass; gives it.

    Raises:
      StorageError: when the ledger cannot be read.
    """
    if one.is_needed:
        for run in found.tables(one.columns):
            one.add(View(*run))
    return one
