"""Plan once: where a shard is cut stays in the output directory, so that no later run reads the shard to find out.

Only of shards that had to be read for it: plain ones of about one range are whole, as far as their size tells.
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from beam_curator import json_text
from beam_curator.reading import Reading
from beam_curator.samples import Shard, ShardRange
from beam_curator.sources.ranges import plan_ranges
from beam_curator.sources.tar.planning import ShardPlan, range_bytes_of
from beam_curator.storage import files, urls

PLANS_DIRECTORY = "plans"
PLANNING_VERSION = 2
"""Goes up when the same shard would be cut elsewhere than before."""
_CHECKSUM = "crc32"


def plan_name(shard: Shard) -> str:
    """The place of a shard's plan under the output directory."""
    return f"{PLANS_DIRECTORY}/{shard.name}.json"


def plan_of(range: ShardRange) -> str | None:
    """The plan that a range is from, or None where a whole plain tar, or a shard in another format, needs none."""
    whole = range.ordinal == 0 and range.last and not range.compression
    return None if whole or range.shard.format else plan_name(range.shard)


def encode_plan(shard: Shard, range_bytes: int, planned: ShardPlan, by_key: bool = False) -> bytes:
    """Encodes the file of a plan: the plan, and all that shapes it."""
    plan = {**_shaped_by(shard, range_bytes, by_key), "layout": planned._asdict()}
    return _as_text({**plan, _CHECKSUM: _crc32(plan)}) + b"\n"


def _as_text(plan: Mapping[str, Any]) -> bytes:
    return json.dumps(plan, sort_keys=True).encode()


def _crc32(plan: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(_as_text(plan)):08x}"


def _shaped_by(shard: Shard, range_bytes: int, by_key: bool) -> dict[str, Any]:
    return {
        "version": PLANNING_VERSION,
        "shard": shard.identity,
        "range_bytes": range_bytes,
        "group_by_key": by_key,
    }


class Permission(Protocol):
    """Allows a step to write to an output directory."""

    def check(self, url: str) -> None:
        """Raises JobError if this shard lies in the directory."""

    def confirm(self) -> Any:
        """Raises CurationError unless the directory still is the job's own."""


@dataclasses.dataclass(frozen=True)
class KeptPlans:
    """The plans in an output directory.

    Attributes:
      output: the directory, local or in a bucket.
      read_only: whether new ones are not added.
      title: what allows a pipeline to write there; None where whoever calls has seen to that.
      also_in: another output directory, whose plans are as good.
    """

    output: str
    read_only: bool = False
    title: Permission | None = None
    also_in: str | None = None

    def recall(self, shard: Shard, range_bytes: int, by_key: bool = False) -> ShardPlan | None:
        """The plan of the shard as it is now, if it is known for ranges of this size and samples of this kind.

        Raises:
          StorageError: when it cannot be read, after retries.
        """
        known = self._recall(self.output, shard, range_bytes, by_key)
        if known is None and self.also_in is not None:
            known = self._recall(self.also_in, shard, range_bytes, by_key)
            if known is not None:
                self.keep(shard, range_bytes, known, by_key)
        return known

    def _recall(self, output: str, shard: Shard, range_bytes: int, by_key: bool) -> ShardPlan | None:
        url = urls.join(output, *plan_name(shard).split("/"))
        if not files.exists(url):
            return None
        try:
            plan = json_text.loads(files.read_bytes(url))
            if plan.pop(_CHECKSUM, None) not in (None, _crc32(plan)):  # those of earlier releases have none
                return None  # a byte has changed: it is planned again as well
            planned = ShardPlan(**plan.pop("layout"))
        except (ValueError, TypeError, AttributeError, KeyError):
            return None  # not one of ours: the shard is planned again, and it is replaced
        return planned if plan == _shaped_by(shard, range_bytes, by_key) else None

    def keep(self, shard: Shard, range_bytes: int, planned: ShardPlan, by_key: bool = False) -> None:
        """Remembers a plan.

        Raises:
          JobError, UsageError: when the directory is not the job's to write to.
          StorageError: when it cannot be written, after retries.
        """
        if not self.read_only:
            if self.title is not None:
                self.title.check(shard.url)
                self.title.confirm()
            files.write_bytes(self.output, plan_name(shard), encode_plan(shard, range_bytes, planned, by_key))


PLANNING_THREADS = 16
"""Threads that look at shards, and at what is stored of their ranges, while a command plans."""


def planned_ranges(output: str, shards: Sequence[Shard], range_mb: float, reading: Reading) -> list[list[ShardRange]]:
    """The ranges of each shard, by the plans that an output directory keeps; nothing is written.

    Args:
      output: the directory.
      shards: n shards.
      range_mb: about how large a range is, in MiB.
      reading: how the ranges are to be read.

    Raises:
      StorageError: when a shard cannot be read, after retries.
    """
    plans = KeptPlans(output, read_only=True)
    with ThreadPoolExecutor(PLANNING_THREADS) as pool:
        return list(pool.map(lambda shard: list(plan_ranges(shard, range_bytes_of(range_mb), plans, reading)), shards))
