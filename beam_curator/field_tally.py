"""Tallies of the fields of samples' metadata (the scalars of their .json), from which the type of each column follows.

Tallies may be added up in any order, and the sum is the same: so each column has the same type for every number of
workers, after any resume, and whichever shards came first.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from beam_curator.field_names import ALL, is_carried

MAX_FIELDS = 1000
"""The most fields that are carried as columns: those with the shortest names, and of equal length the first in the
alphabet."""

FLAG, INTEGER, WIDE_INTEGER, HUGE_INTEGER, NUMBER, TEXT = "flag", "integer", "wide", "huge", "number", "text"
"""The kinds of values. A float64 holds all integers up to 2^53; a WIDE_INTEGER is beyond these, a HUGE_INTEGER beyond
int64."""


def column_type(kinds: Iterable[str]) -> str:
    """The type of a column with values of these kinds: FLAG, INTEGER or NUMBER, and TEXT for mixed kinds."""
    met = set(kinds)
    if met == {FLAG}:
        return FLAG
    if met and met <= {INTEGER, WIDE_INTEGER}:
        return INTEGER
    return NUMBER if met and met <= {INTEGER, NUMBER} else TEXT


@dataclasses.dataclass(frozen=True)
class FieldTally:
    """The tally of one field over some samples.

    Attributes:
      kinds: the kinds of its values.
      values: how many samples have a value that is carried.
      nested: how many have a list or an object, which is not carried.
      long: how many have a text that is too long to be carried.
    """

    kinds: frozenset[str] = frozenset()
    values: int = 0
    nested: int = 0
    long: int = 0

    def __add__(self, other: FieldTally) -> FieldTally:
        return FieldTally(
            self.kinds | other.kinds,
            self.values + other.values,
            self.nested + other.nested,
            self.long + other.long,
        )

    @property
    def type(self) -> str:
        """The type of its column: FLAG, INTEGER, NUMBER or TEXT."""
        return column_type(self.kinds)

    @property
    def is_mixed(self) -> bool:
        """Whether the column is text because its values are of several kinds."""
        return self.type == TEXT and self.kinds not in (frozenset({TEXT}), frozenset())


@dataclasses.dataclass(frozen=True)
class FieldsFound:
    """The tallies of all fields over some samples.

    Attributes:
      columns: the tally of each field, by the name of its column.
      broken: how many `.json` members are no JSON object, or too large to be read.
      more: whether there are more fields than are carried, or fields whose names are too long.
      foreign_sidecars: Parquet files that stand beside shards and do not describe these shards' samples.
      hashes: how many samples have a field with the sha256 of their image.
      other_hashes: in how many of them it differs from that of the stored bytes.
    """

    columns: Mapping[str, FieldTally] = dataclasses.field(default_factory=dict)
    broken: int = 0
    more: bool = False
    foreign_sidecars: frozenset[str] = frozenset()
    hashes: int = 0
    other_hashes: int = 0

    def __add__(self, other: FieldsFound) -> FieldsFound:
        names = least({*self.columns, *other.columns})
        nothing = FieldTally()
        return FieldsFound(
            {name: self.columns.get(name, nothing) + other.columns.get(name, nothing) for name in names},
            self.broken + other.broken,
            self.more or other.more or len({*self.columns, *other.columns} - set(names)) > 0,
            self.foreign_sidecars | other.foreign_sidecars,
            self.hashes + other.hashes,
            self.other_hashes + other.other_hashes,
        )

    @property
    def types(self) -> dict[str, str]:
        """The type of each column, by name, sorted; fields without a value that is carried have no column."""
        return {name: tally.type for name, tally in sorted(self.columns.items()) if tally.values}

    @property
    def as_json(self) -> dict[str, Any]:
        """The tallies as JSON, for score parts and manifests."""
        columns = {
            name: {
                "kinds": sorted(one.kinds),
                "values": one.values,
                **({"nested": one.nested} if one.nested else {}),
                **({"long": one.long} if one.long else {}),
            }
            for name, one in sorted(self.columns.items())
        }
        told = {
            "broken": self.broken,
            "more": self.more,
            "foreign_sidecars": sorted(self.foreign_sidecars),
            "hashes": self.hashes,
            "other_hashes": self.other_hashes,
        }
        return {"columns": columns, **{name: value for name, value in told.items() if value}}

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> FieldsFound:
        """The inverse of `told`."""
        columns = {
            name: FieldTally(**{**one, "kinds": frozenset(one["kinds"])}) for name, one in told["columns"].items()
        }
        sidecars = frozenset(told.get("foreign_sidecars", ()))
        return cls(**{**told, "columns": columns, "foreign_sidecars": sidecars})

    def only(self, carry: Sequence[str]) -> FieldsFound:
        """The tallies of the fields that `Reading.carry` chooses."""
        if tuple(carry) == (ALL,):
            return self
        there = {name: one for name, one in self.columns.items() if is_carried(name, carry)}
        hashes = (self.hashes, self.other_hashes) if "sha256" in carry else (0, 0)
        return dataclasses.replace(self, columns=there, more=False, hashes=hashes[0], other_hashes=hashes[1])


def least(names: Iterable[str]) -> list[str]:
    """The `MAX_FIELDS` columns that are carried, or all if they are fewer. The choice depends on the names alone, so it
    is the same in whatever order tallies are added."""
    found = list(names)
    if len(found) > MAX_FIELDS:
        found = sorted(found, key=lambda name: (len(name), name))[:MAX_FIELDS]
    return sorted(found)


def sum_fields(found: Iterable[FieldsFound | None]) -> FieldsFound:
    """The sum of some tallies, of which None is nothing; in the form that Beam's CombineGlobally calls."""
    return sum((one for one in found if one is not None), FieldsFound())


def nearest(name: str, there: Iterable[str]) -> str:
    """The end of a message about a field that is missing: the name that may be meant, or all names that there are."""
    names = sorted(there)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    if not names:
        return "they have no fields"
    return f"there are {', '.join(names[:20])}{' and others' if len(names) > 20 else ''}"
