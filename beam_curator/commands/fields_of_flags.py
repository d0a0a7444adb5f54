"""Which fields of samples' metadata the flags look at, and what can be said against it before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from beam_curator import rows
from beam_curator.field_tally import INTEGER
from beam_curator.rules.fields_wanted import FieldsWanted, fields_wanted
from beam_curator.rules.lists import ListFile
from beam_curator.rules.rule import Rule, TableRule
from beam_curator.rules.top import Top


def fields_of_selection(
    manifest: Mapping[str, Any] | None,
    carry: Sequence[str],
    described_input: Mapping[str, Any],
    rules: Sequence[Rule],
    lists: Sequence[ListFile],
    tops: Sequence[Top],
    columns: Mapping[str, str],
) -> FieldsWanted:
    """The fields that a selection looks at.

    Which there are, the manifest of a finished job with the same input says; else they are known when all samples are
    read.

    Args:
      manifest: of the finished job that stands in the output directory, if any.
      carry: which fields are carried.
      described_input: as `describe_input` gives it.
      rules: the rules.
      lists: the lists.
      tops: which are the best.
      columns: what all other columns hold, by the names of `rows.types_of`.

    Raises:
      UsageError: for a field that is needed and not carried, not there, or that a rule cannot look at.
    """
    wanted = fields_wanted(rules, lists, tops)
    if not wanted:
        return wanted
    wanted.check_carried(carry)
    reading = (manifest or {}).get("reading")
    if manifest is None or not isinstance(reading, Mapping) or reading.get("carry") != list(carry):
        return wanted
    if manifest.get("input") == described_input:
        told = (manifest.get("fields") or {}).get("columns") or {}
        there = {name: one["type"] for name, one in told.items() if one["type"]}
        wanted.check_there(there)
        types = {**dict.fromkeys(wanted.optional, rows.NOTHING), **columns}
        types |= {name: "number" if type == INTEGER else type for name, type in there.items()}
        for rule in rules:
            if isinstance(rule, TableRule):
                rule.check(types)
        for top in tops:
            top.check(types)
    return wanted
