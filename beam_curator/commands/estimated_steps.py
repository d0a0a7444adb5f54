"""How long what comes beside scoring and selecting will take: arithmetic on rows and bytes, by what it took before."""

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
from beam_curator.phases import WRITING

_ONE_LEVEL_OF_CELLS = 7e6
"""So many vectors are compared by cells that grow with them; with more, the work grows by the square."""


@dataclasses.dataclass(frozen=True)
class Step:
    """A step of a job.

    Attributes:
      name: what its line begins with.
      seconds: about how long it takes, at most where the rules decide how much there is; None where nobody knows.
      what: what it does.
      source: how its time is known; "" where it is not.
    """

    name: str
    seconds: float | None
    what: str
    source: str = ""


def adding_columns(rows: int, scorers: Sequence[str], needs: Collection[str]) -> Step | None:
    """Columns that samples lack which are embedded; None where none do.

    Args:
      rows: how many such samples.
      scorers: by name.
      needs: what they are computed from.
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
    """Finding duplicates, of all samples at most; None where they stay."""
    if not kinds:
        return None
    seconds = rows * HASHES_SECONDS_A_ROW if set(kinds) != {SEMANTIC} else 0.0
    if SEMANTIC in kinds:
        within, beyond = min(rows, _ONE_LEVEL_OF_CELLS), max(1.0, rows / _ONE_LEVEL_OF_CELLS) ** 2
        seconds += SEMANTIC_SECONDS_A_MILLION * (within / 1e6) ** SEMANTIC_POWER * beyond
    return Step("comparing", seconds, f"{', '.join(kinds)} duplicates of {round(rows):,} samples", COMPARING_SOURCE)


def reporting(rows: float) -> Step:
    """Writing the report."""
    return Step("report", REPORT_START_SECONDS + rows * REPORT_SECONDS_A_ROW, "the page, with pictures", REPORT_SOURCE)


def writing(rows: float, size_bytes: int, size: Any, manifest: Mapping[str, Any] | None, output: str) -> Step:
    """Copying, of all samples at most: by the last run in the directory, else by what it took on a machine of ours.

    Args:
      rows, size_bytes: of the input.
      size: tells bytes as people do.
      manifest: of the last run, if there was one.
      output: the directory.
    """
    what = f"{size(size_bytes)} of {round(rows):,} samples, where all are kept"
    timings = (manifest or {}).get("timings") or {}
    for one in timings.get("phases") or ():
        if one.get("phase") == WRITING and one.get("samples") and one.get("samples_per_second"):
            seconds = rows / one["samples_per_second"]
            return Step("writing", seconds, what, f"the run of {timings.get('started')} in {output}")
    seconds = max(size_bytes / COPYING_BYTES_A_SECOND, rows * COPYING_SECONDS_A_ROW)
    return Step("writing", seconds, what, COPYING_SOURCE)
