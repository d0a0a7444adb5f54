"""The samples that are shown: what the ledger says of each, and what is wanted for its picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from beam_curator import rows
from beam_curator.report.choosing import Place
from beam_curator.report.copies import id_column
from beam_curator.report.ledger_files import LedgerFiles
from beam_curator.report.thumbnails import Wanted

MOST_CAPTION = 200
"""So many characters of a caption are shown."""

NSFW = "nsfw"
_TOLD = (
    *("shard", "key", "offset", "status", "reason", "image", "width", "height", "sha256", "caption"),
    *("duplicate_of", *rows.DUPLICATE.names),
)

VEILED_FROM = 0.5
"""Pictures with at least this NSFW score, or the job's own lower limit, are veiled."""


class Shown:
    """Samples, each once, in the order in which they were asked for.

    Attributes:
      number_of: of each place its number.
      samples: what the ledger says of each, by number, as JSON has it.
      wanted: for the picture of each.
    """

    def __init__(self, limit: float = VEILED_FROM) -> None:
        self._limit = min(limit, VEILED_FROM)
        self.number_of: dict[Place, int] = {}
        self.samples: list[dict[str, Any]] = []
        self.wanted: list[Wanted] = []

    def add(self, ledger: LedgerFiles, places: Iterable[Place]) -> None:
        """Reads these rows of the ledger, those that are not read yet."""
        new = [place for place in dict.fromkeys(places) if place not in self.number_of]
        by_file: dict[int, list[Place]] = {}
        for place in new:
            by_file.setdefault(place.file, []).append(place)
        found: dict[Place, tuple[dict[str, Any], Wanted]] = {}
        numbers = {file: [place.row for place in its] for file, its in by_file.items()}
        for file, of_file in ledger.rows(numbers, _columns):
            for place, one in zip(by_file[file], of_file, strict=True):
                (row,) = one.table.to_pylist()
                found[place] = self._told(one.table.schema, row), _wanted(row, f"{one.range}.parquet", one.row)
        for place in new:
            self.number_of[place] = len(self.samples)
            sample, wanted = found[place]
            self.samples.append(sample)
            self.wanted.append(wanted)

    def _told(self, schema: pa.Schema, row: Mapping[str, Any]) -> dict[str, Any]:
        scores = {field.name: row[field.name] for field in schema if rows.role_of(field) == rows.SCORE}
        caption = row.get("caption") or ""
        return {
            "id": row.get(id_column(schema)),
            "shard": row["shard"],
            "key": row.get("key") or "",
            "status": row["status"],
            "reason": row["reason"],
            "width": row.get("width"),
            "height": row.get("height"),
            "caption": caption if len(caption) <= MOST_CAPTION else f"{caption[: MOST_CAPTION - 1]}\u2026",
            "scores": {name: _written(value) for name, value in scores.items() if value is not None},
            "kind": row.get("duplicate_kind"),
            "distance": _written(row.get("duplicate_distance")),
            "veiled": any(
                isinstance(value, float) and name.startswith(NSFW) and not value < self._limit
                for name, value in scores.items()
            ),
        }


def _columns(schema: pa.Schema) -> list[str]:
    """Names the columns of what is told of a sample, and of what its picture is found by."""
    return [*_TOLD, id_column(schema), *(field.name for field in schema if rows.role_of(field) == rows.SCORE)]


def _written(value: Any) -> Any:
    """A value as JSON has it: what is no number of JSON's, such as NaN, is text."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _wanted(row: Mapping[str, Any], file: str, index: int) -> Wanted:
    return Wanted(row["shard"], row.get("image"), row.get("sha256"), file, index, row.get("offset") or 0)


def veil_limit(thresholds: Sequence[Mapping[str, Any]]) -> float:
    """The job's own limit of NSFW scores, from the thresholds of that measure."""
    return min((one["value"] for one in thresholds if one["keeps"] != ">="), default=VEILED_FROM)
