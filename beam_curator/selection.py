"""Select: rules that decide which samples are kept, each with its name as the reason in the ledger."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from beam_curator import rows
from beam_curator.errors import CurationError
from beam_curator.samples import SampleBatch

Rule = Callable[[Mapping[str, Any]], Any]
"""What decides on a sample: takes its row (ledger column to value, scores among them), true keeps it.

Its `name`, else its `__name__`, is the reason that the ledger gives for what it drops.
"""


class ColumnRule(abc.ABC):
    """A rule of ours: works on one row, and as well on whole columns (arrays of n) at once."""

    @property
    @abc.abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The columns that it looks at."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The reason in the ledger for what it drops."""

    @abc.abstractmethod
    def __call__(self, row: Mapping[str, Any]) -> Any:
        """True (or a bool array [n]) for what is kept."""


@dataclasses.dataclass(frozen=True)
class _OneColumn(ColumnRule):
    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)


@dataclasses.dataclass(frozen=True)
class AtLeast(_OneColumn):
    """Keeps samples whose `column` is at least `minimum`."""

    minimum: float

    @property
    def name(self) -> str:
        return f"{self.column} < {self.minimum:g}"

    def __call__(self, row: Mapping[str, Any]) -> Any:
        return row[self.column] >= self.minimum


@dataclasses.dataclass(frozen=True)
class Below(_OneColumn):
    """Keeps samples whose `column` is below `limit`."""

    limit: float

    @property
    def name(self) -> str:
        return f"{self.column} >= {self.limit:g}"

    def __call__(self, row: Mapping[str, Any]) -> Any:
        return row[self.column] < self.limit


@dataclasses.dataclass(frozen=True)
class Between(_OneColumn):
    """Keeps samples whose `column` is at least `minimum` and at most `maximum`."""

    minimum: float
    maximum: float

    @property
    def name(self) -> str:
        return f"{self.column} outside {self.minimum:g}..{self.maximum:g}"

    def __call__(self, row: Mapping[str, Any]) -> Any:
        return (row[self.column] >= self.minimum) & (row[self.column] <= self.maximum)


@dataclasses.dataclass(frozen=True)
class AspectRatioAtMost(ColumnRule):
    """Keeps images whose longer side is at most `maximum` times the shorter one."""

    maximum: float

    @property
    def columns(self) -> tuple[str, ...]:
        return ("width", "height")

    @property
    def name(self) -> str:
        return f"aspect_ratio > {self.maximum:g}"

    def __call__(self, row: Mapping[str, Any]) -> Any:
        width, height = row["width"], row["height"]
        return (width <= self.maximum * height) & (height <= self.maximum * width)


def rule_name(rule: Rule) -> str:
    """The reason that the ledger gives for what the rule drops."""
    return str(getattr(rule, "name", None) or getattr(rule, "__name__", None) or type(rule).__name__)


def select(table: pa.Table, rules: Sequence[Rule]) -> pa.Table:
    """The rows with those dropped that a rule rejects. The first rule that rejects a row gives its reason; rows that
    are dropped or failed already stay as they are. A rule that raises fails the row, with its message.

    Raises:
      CurationError: for a rule of ours on a column that the rows do not have.
    """
    status = np.asarray(table["status"].to_pylist(), dtype=object)
    reason = np.asarray(table["reason"].to_pylist(), dtype=object)
    for rule in rules:
        undecided = np.flatnonzero(status == rows.KEPT)
        if not len(undecided):
            break
        if isinstance(rule, ColumnRule):
            rejected = undecided[~_keeps(table, rule)[undecided]]
            status[rejected], reason[rejected] = rows.DROPPED, rule.name
            continue
        for index, row in zip(undecided, table.take(undecided).to_pylist(), strict=True):
            status[index], reason[index] = _outcome(rule, row)
    return rows.with_column(rows.with_column(table, "status", status), "reason", reason)


def _keeps(table: pa.Table, rule: ColumnRule) -> np.ndarray:
    missing = [name for name in rule.columns if name not in table.schema.names]
    if missing:
        raise CurationError(
            f'rule "{rule.name}" wants a column "{missing[0]}" that the samples do not have: '
            f"there are {', '.join(table.schema.names)}"
        )
    return rule({name: _exact(table[name]) for name in rule.columns})


def _exact(column: pa.ChunkedArray) -> np.ndarray:
    """A column's values as a single row has them: NumPy would round a threshold to float32 beside float32 scores."""
    numeric = pa.types.is_floating(column.type) or pa.types.is_integer(column.type)
    return column.to_numpy().astype(np.float64) if numeric else column.to_numpy()


def _outcome(rule: Rule, row: Mapping[str, Any]) -> tuple[str, str | None]:
    try:
        keep = bool(rule(row))
    except (Exception, SystemExit) as error:  # a rule is the user's code: what it raises concerns this row alone
        why = f"rule {rule_name(rule)} raised {type(error).__name__}: {_message(error)}"
        return rows.FAILED, why.encode("utf-8", "backslashreplace").decode()  # a file name in it may be no UTF-8
    return (rows.KEPT, None) if keep else (rows.DROPPED, rule_name(rule))


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # its __str__ is the user's code as well
        return "(no message)"


class Select(beam.PTransform):
    """Applies rules: takes `SampleBatch` with scores, gives it with each row kept, dropped or failed.

    Nothing leaves the batch: what is dropped goes on as a row, for the ledger.
    """

    def __init__(self, *rules: Rule) -> None:
        super().__init__()
        wrong = [rule for rule in rules if not callable(rule)]
        if wrong:
            raise CurationError(f"{wrong[0]!r} is not a rule: a rule is called with a row, and true keeps it")
        self.rules = rules

    def expand(self, batches: beam.PCollection[SampleBatch]) -> beam.PCollection[SampleBatch]:
        rules = self.rules
        return batches | beam.Map(lambda batch: batch.replace(rows=select(batch.rows, rules))).with_output_types(
            SampleBatch
        )
