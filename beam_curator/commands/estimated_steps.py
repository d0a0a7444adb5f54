"""Estimates how long the steps besides scoring and selecting will take: rows and bytes times measured rates."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from beam_curator.commands.measured_rates import (
    COLUMNS_SECONDS_A_ROW,
    COLUMNS_SOURCE,
    COMPARING_SOURCE,
    COPYING_BYTES_A_SECOND,
    COPYING_SECONDS_A_ROW,
    COPYING_SOURCE,
    HASHES_SECONDS_A_ROW,
    REPORT_SECONDS_A_ROW,
    REPORT_SOURCE,
    REPORT_START_SECONDS,
    SEMANTIC_POWER,
    SEMANTIC_SECONDS_A_MILLION,
)
from beam_curator.duplicates.settings import SEMANTIC
from beam_curator.first_few import size_text
from beam_curator.phases import WRITING

_ONE_LEVEL_OF_CELLS = 7e6
"""Up to so many vectors the number of cells grows with them; with more, the work grows with their square."""


@dataclasses.dataclass(frozen=True)
class Step:
    """A step of a job, as an estimate has it.

    Attributes:
      name: the first word of its line.
      seconds: how long it takes, about; an upper bound where it depends on how many samples the rules keep. None where
        that is not known.
      what: what it does.
      source: where its rate was measured; "" where it is not known.
    """

    name: str
    seconds: float | None
    what: str
    source: str = ""


def adding_columns(rows: int, scorers: Sequence[str], needs: Collection[str]) -> Step | None:
    """The step that computes columns which embedded samples lack; None if no sample lacks any.

    Args:
      rows: how many samples lack a column.
      scorers: names of the scorers of these columns.
      needs: what these scorers compute from (`Scorer.needs`).
    """
    if not rows:
        return None
    what = f"{', '.join(scorers)} of {rows:,} samples that are embedded"
    if "pixels" in needs:
        return Step("columns", None, f"{what}: their images are read and decoded again")
    if {*needs} != {"embedding"}:
        return Step("columns", None, f"{what}: how long a scorer takes with their captions is not known")
    return Step("columns", rows * COLUMNS_SECONDS_A_ROW, what, COLUMNS_SOURCE)


def reading_fields(rows: int) -> Step | None:
    """Fields of so many samples that are embedded, and whose fields nobody looked for; None where there are none."""
    if not rows:
        return None
    what = f"fields of the metadata of {rows:,} samples that are embedded: their shards are read again"
    return Step("fields", None, what)


def comparing(rows: float, kinds: Sequence[str]) -> Step | None:
    """Estimates the time to find duplicates, of all samples at most; None where they stay."""
    if not kinds:
        return None
    seconds = rows * HASHES_SECONDS_A_ROW if set(kinds) != {SEMANTIC} else 0.0
    if SEMANTIC in kinds:
        within, beyond = min(rows, _ONE_LEVEL_OF_CELLS), max(1.0, rows / _ONE_LEVEL_OF_CELLS) ** 2
        seconds += SEMANTIC_SECONDS_A_MILLION * (within / 1e6) ** SEMANTIC_POWER * beyond
    return Step("comparing", seconds, f"{', '.join(kinds)} duplicates of {round(rows):,} samples", COMPARING_SOURCE)


def reporting(rows: float) -> Step:
    """Estimates the time to write the report."""
    return Step("report", REPORT_START_SECONDS + rows * REPORT_SECONDS_A_ROW, "the page, with pictures", REPORT_SOURCE)


def writing(rows: float, size_bytes: int, manifest: Mapping[str, Any] | None, output: str) -> Step:
    """Copying, of all samples at most: by the last run in the directory, else by what it took on a machine of ours.

    Args:
      rows: number of samples of the input, perhaps an estimate.
      size_bytes: size of the input.
      manifest: of the last run, if there was one.
      output: the directory.
    """
    what = f"{size_text(size_bytes)} of {round(rows):,} samples, where all are kept"
    timings = (manifest or {}).get("timings") or {}
    for one in timings.get("phases") or ():
        if one.get("phase") == WRITING and one.get("samples") and one.get("samples_per_second"):
            seconds = rows / one["samples_per_second"]
            return Step("writing", seconds, what, f"the run of {timings.get('started')} in {output}")
    seconds = max(size_bytes / COPYING_BYTES_A_SECOND, rows * COPYING_SECONDS_A_ROW)
    return Step("writing", seconds, what, COPYING_SOURCE)
