"""Makes the lines of the summary on the fields of samples' metadata, from the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from beam_curator.field_names import ALL, PREFIX
from beam_curator.field_tally import MAX_FIELDS, FieldTally
from beam_curator.first_few import counted, listed


def field_lines(fields: Mapping[str, Any], carry: Sequence[str] = (ALL,)) -> list[str]:
    """A line on each thing that a user should know of them.

    Args:
      fields: as `manifest.fields_of` gives them; empty where none were met.
      carry: those that were asked for, as `Reading.carry` has them.
    """
    columns: Mapping[str, Mapping[str, Any]] = fields.get("columns") or {}
    carried = [name for name, one in columns.items() if one["type"]]
    lines = []
    if carried:
        lines.append(f"carried {counted(len(carried), 'field')} of the samples as columns: {listed(carried)}")
    absent = [] if list(carry) == [ALL] else [name for name in carry if f"{PREFIX}{name}" not in columns]
    if absent:
        lines.append(f"NOTE: --carry {','.join(absent)}: no sample has {_such(absent)}")
    mixed = [name for name, one in columns.items() if FieldTally(frozenset(one["kinds"])).is_mixed]
    if mixed:
        kinds = ", ".join(f"{name} ({_told(columns[name]['kinds'])})" for name in mixed[:_SHOWN])
        lines.append(f"text, since values of several kinds were met: {kinds}{_and_others(mixed)}")
    for kind, what in (("nested", "lists or objects"), ("long", "texts of over 64 KiB")):
        some = [f"{name} ({one[kind]:,} x)" for name, one in columns.items() if one.get(kind)]
        if some:
            lines.append(f"not carried, {what}: {', '.join(some[:_SHOWN])}{_and_others(some)}")
    if fields.get("broken"):
        broken = counted(fields["broken"], "sample")
        lines.append(f"{broken} without fields: the .json is no JSON object, or over 4 MiB")
    if fields.get("more"):
        lines.append(
            f"there are more fields than are carried, {MAX_FIELDS:,} with the shortest names: --carry names others"
        )
    foreign = fields.get("foreign_sidecars") or ()
    if foreign:
        which = f"{foreign[0]} is" if len(foreign) == 1 else f"{foreign[0]} and {len(foreign) - 1:,} others are"
        lines.append(f"{which} not img2dataset's of the shard beside: ignored")
    return [*lines, *_hashes(fields)]


def _such(names: Sequence[str]) -> str:
    return "such a field" if len(names) == 1 else "one of these fields"


_SHOWN = 5

_KINDS = {
    "flag": "true or false",
    "integer": "integers",
    "wide": "integers over 2^53",
    "huge": "integers over 2^63",
    "number": "fractions",
    "text": "texts",
}


def _told(kinds: Sequence[str]) -> str:
    return " and ".join(_KINDS[kind] for kind in kinds)


def _and_others(names: Sequence[str]) -> str:
    return f" and {len(names) - _SHOWN:,} others" if len(names) > _SHOWN else ""


def _hashes(fields: Mapping[str, Any]) -> list[str]:
    said, others = fields.get("hashes", 0), fields.get("other_hashes", 0)
    if not said:
        return []
    if not others:
        return [f"json.sha256 is that of the stored image in all {counted(said, 'sample')} that say one"]
    if others == said:
        return [
            f"json.sha256 is that of the stored image in none of {counted(said, 'sample')}: a downloader hashes what "
            "it fetched, and these were encoded again, or resized"
        ]
    return [
        f"NOTE: json.sha256 is not that of the stored image in {others:,} of {counted(said, 'sample')}: these were "
        'encoded again since they were hashed, or are damaged; --where "json.sha256 = sha256" keeps the others'
    ]
