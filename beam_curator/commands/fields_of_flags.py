"""Finds the fields of samples' metadata that the flags look at, and checks them before any work."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from beam_curator import rows
from beam_curator.field_tally import INTEGER, FieldsFound
from beam_curator.output.manifest import fields_in
from beam_curator.output.resuming import ways_apart
from beam_curator.reading import Reading
from beam_curator.rules.fields_wanted import FieldsWanted, fields_wanted
from beam_curator.rules.lists import ListFile
from beam_curator.rules.missed_columns import check_users_rule
from beam_curator.rules.rule import Rule, TableRule
from beam_curator.rules.top import Top


def fields_of_selection(
    manifest: Mapping[str, Any] | None,
    reading: Reading,
    described_input: Mapping[str, Any],
    rules: Sequence[Rule],
    lists: Sequence[ListFile],
    tops: Sequence[Top],
    columns: Mapping[str, str],
) -> FieldsWanted:
    """The fields that a selection looks at.

    Which there are, the manifest of a finished job says that read the same input in the same way; else they are known
    when all samples are read.

    Args:
      manifest: of the finished job that stands in the output directory, if any.
      reading: how the input is read, and which fields are carried.
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
    wanted.check_carried(reading.carry)
    found = _fields_known(manifest, reading, described_input)
    fields = None if found is None else _types(found)
    for rule in rules:
        if not isinstance(rule, TableRule):
            check_users_rule(rule, columns, fields, reading.carry)
    if found is None or fields is None:
        return wanted
    wanted.check_there(found.types)
    types = {**dict.fromkeys(wanted.optional, rows.NOTHING), **columns, **fields}
    for rule in rules:
        if isinstance(rule, TableRule):
            rule.check(types)
    for top in tops:
        top.check(types)
    return dataclasses.replace(wanted, found=found)


def _fields_known(
    manifest: Mapping[str, Any] | None, reading: Reading, described_input: Mapping[str, Any]
) -> FieldsFound | None:
    """Reads from the manifest of a finished job which fields there are in the input; None where it tells of another
    input or reading. It leaves out the files beside shards, which may be as many as these."""
    before = (manifest or {}).get("reading")
    if manifest is None or not isinstance(before, Mapping) or before.get("carry") != list(reading.carry):
        return None
    is_read_apart = ways_apart(before, reading, int(manifest.get("several_images") or 0)) is not None
    if is_read_apart or manifest.get("input") != described_input:
        return None
    return FieldsFound(fields_in(manifest).columns)


def _types(found: FieldsFound) -> dict[str, str]:
    """The types of fields, by the names of `rows.types_of`."""
    return {name: "number" if type == INTEGER else type for name, type in found.types.items()}
