"""One shard's plan: what is kept of it, against the ranges that planning gives now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from apache_beam.io.filesystem import BeamIOError

from beam_curator import json_text
from beam_curator.errors import first_line
from beam_curator.output.plans import plan_of
from beam_curator.samples import ShardRange
from beam_curator.storage import files
from beam_curator.verification.differences import Difference, unequal_fields
from beam_curator.verification.finished import FinishedJob


def check_plan(finished: FinishedJob, ranges: Sequence[ShardRange]) -> Iterator[Difference]:
    """Checks the plan that is kept of a shard: yields where it differs from these ranges, as which the shard is
    planned.

    Of the shard, its url and size, not its generation: a copy in a bucket may have another one.
    """
    name = plan_of(ranges[0])
    if name is None or not finished.keeps_plans:
        return
    try:
        kept = json_text.loads(files.read_bytes(finished.path(name)))
        found = {**kept["layout"], **{field: kept["shard"][field] for field in ("url", "size_bytes")}}
        found |= {field: kept[field] for field in ("range_bytes", "group_by_key")}
    except (OSError, BeamIOError) as error:
        yield Difference(name, f"cannot be read: {first_line(error)}")
        return
    except (ValueError, TypeError, KeyError):
        yield Difference(name, "is no plan of a shard")
        return
    first = ranges[0]
    expected = {
        "compression": first.compression,
        "cuts": [range.start for range in ranges[1:]],
        "end": ranges[-1].end,
        "keys_return": first.keys_return,
        "group_by_key": first.reading.group_by_key,
        "url": first.url,
        "size_bytes": first.shard.size_bytes,
        "range_bytes": finished.range_bytes,
    }
    yield from unequal_fields(name, found, expected)
