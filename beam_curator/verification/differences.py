"""Says what is not as promised, in words; and compares tables row by row."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from beam_curator.sources.told_places import told_place

_SHOWN_CHARACTERS = 80


@dataclasses.dataclass(frozen=True)
class Difference:
    """One thing that is not as promised.

    Attributes:
      where: the file, as the output directory has it, or an input shard's url.
      what: what is there, and what should be.
    """

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def unequal(where: str, name: str, found: Any, expected: Any) -> Iterator[Difference]:
    """A difference if two values are not the same; NaN is the same as NaN, and tuples as lists."""
    if _canonical(found) != _canonical(expected):
        yield Difference(where, f"{name} is {shown(found)}, should be {shown(expected)}")


def unequal_fields(
    where: str, found: Mapping[str, Any], expected: Mapping[str, Any], before: str = "", after: str = ""
) -> Iterator[Difference]:
    """A difference for each field of two records that is not the same in both; an absent one is like null.

    Its name goes between `before` and `after`.
    """
    for field in dict.fromkeys([*expected, *found]):
        yield from unequal(where, f"{before}{field}{after}", found.get(field), expected.get(field))


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=repr)


def shown(value: Any) -> str:
    """A value in a line of text."""
    text = repr(value)
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    size = f" ({len(value):,} in all)" if isinstance(value, (list, tuple, dict)) else ""
    return f"{text[:_SHOWN_CHARACTERS]}...{size}"


def match_rows(where: str, found: pa.Table, expected: pa.Table) -> Iterator[Difference | tuple[int, int]]:
    """Looks up the rows that should be there by their `sample_id`.

    Gives a difference for each row that is missing, doubled or nobody's, and if rows stand in another order; and a pair
    (index in `expected`, index in `found`) for each row that is there.
    """
    wanted, standing = expected["sample_id"].to_pylist(), found["sample_id"].to_pylist()
    counts = collections.Counter(standing)
    places = {name: index for index, name in reversed(list(enumerate(standing)))}
    for index, name in enumerate(wanted):
        sample = _sample(expected, index)
        if name not in places:
            yield Difference(where, f"no row for {sample}")
            continue
        if counts[name] > 1:
            yield Difference(where, f"{counts[name]} rows for {sample}")
        yield index, places[name]
    strangers = counts.keys() - set(wanted)
    for index in sorted(places[name] for name in strangers):
        yield Difference(where, f"a row for {_sample(found, index)}, which is not in the input there")
    if standing != wanted and counts == collections.Counter(wanted):
        yield Difference(where, "the rows are not in the order of the input")


def _sample(table: pa.Table, index: int) -> str:
    row = table.select(["key", "offset", "shard"]).slice(index, 1).to_pylist()[0]
    return f"{shown(row['key'])} {told_place(row['shard'], row['offset'])}"


def unequal_columns(where: str, found: pa.Table, expected: pa.Table, names: Sequence[str]) -> Iterator[Difference]:
    """A difference for each value of these columns that is not the same in two tables of as many rows."""
    for name in names:
        if found[name].equals(expected[name]):
            continue
        pairs = zip(found[name].to_pylist(), expected[name].to_pylist(), found["key"].to_pylist(), strict=True)
        for value, due, key in pairs:
            yield from unequal(where, f"{name} of {shown(key)}", value, due)
