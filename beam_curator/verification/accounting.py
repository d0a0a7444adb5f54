"""The whole of a finished job, in one pass: the input, the ledger, the score parts and the output, side by side.

Kept samples stand in the output in the order of the input, so that both are read once, in order. In memory are at most
the samples of one range and the index of one output shard; of the rest, names and counts.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Generator, Iterator

from apache_beam.io.filesystem import BeamIOError

from beam_curator import files
from beam_curator.checkpoint import part_name
from beam_curator.job import JOB
from beam_curator.ledger import Summary, ledger_name
from beam_curator.manifest import MANIFEST, broken_shards_of, counts_of
from beam_curator.packing import shard_name
from beam_curator.verification.differences import Difference, unequal, unequal_fields
from beam_curator.verification.finished import FinishedJob
from beam_curator.verification.output_shards import (
    SUFFIXES,
    OutputShard,
    check_place,
    check_samples,
    open_shard,
    place_of,
)
from beam_curator.verification.ranges import CheckedRange, KeptSample, check_range


@dataclasses.dataclass
class Tally:
    """How much was compared: samples and shards of the input, shards of the output, and members of kept samples."""

    samples: int = 0
    shards: int = 0
    output_shards: int = 0
    members: int = 0


def verify(finished: FinishedJob, tally: Tally) -> Iterator[Difference]:
    """All that is not as the job promised: nothing, for a sound one. What was compared is added to the tally.

    Raises:
      UsageError: when the input is not there.
    """
    output = _Output(finished, tally)
    summary = Summary()
    names = {MANIFEST, JOB}
    last_url = None
    try:
        for range in finished.ranges():
            names |= {ledger_name(range), part_name(range)}
            checked = yield from check_range(finished, range)
            tally.samples += checked.samples
            tally.shards += range.url != last_url
            last_url = range.url
            summary += checked.summary
            yield from output.compare(checked)
    except (OSError, BeamIOError) as error:  # a shard that cannot even be planned: what comes after it is unknown
        yield Difference("input", f"cannot be read: {files.first_line(error)}")
        return
    yield from output.finish()
    yield from _check_manifest(finished, summary, output)
    names |= {f"{shard_name(index)}{suffix}" for index in output.counts for suffix in SUFFIXES}
    yield from _strays(finished.output, names)


class _Output:
    """The output shards, opened one after the other as the samples of the input come to them."""

    def __init__(self, finished: FinishedJob, tally: Tally) -> None:
        self._finished, self._tally = finished, tally
        self._due = 0
        self._open: OutputShard | None = None
        self.counts: dict[int, int] = {}
        self.tar_bytes = 0

    def compare(self, checked: CheckedRange) -> Iterator[Difference]:
        """The kept samples of the next range: whether each is at its place, and the same there."""
        per_shard = self._finished.samples_per_shard
        placed: list[tuple[int, KeptSample]] = []
        for kept in checked.kept:
            yield from check_place(kept.row, self._due, per_shard)
            place = place_of(kept.row, per_shard)
            if place is not None:
                placed.append((place // per_shard, kept))
            # What follows is due after this one, where it is: one sample out of place is one difference, not thousands.
            self._due = (self._due if place is None else place) + 1
        for index, group in itertools.groupby(placed, key=lambda pair: pair[0]):
            shard = yield from self._shard(index)
            self._tally.members += yield from check_samples(self._finished, shard, [kept for _, kept in group])

    def _shard(self, index: int) -> Generator[Difference, None, OutputShard]:
        if self._open is None or self._open.index != index:
            known = index in self.counts
            opened = open_shard(self._finished, index)
            self._open = _quietly(opened) if known else (yield from opened)
            if not known:
                self.counts[index] = len(self._open.samples)
                self.tar_bytes += self._open.tar_bytes
                self._tally.output_shards += 1
        return self._open

    def finish(self) -> Iterator[Difference]:
        """Whether the shards are full, all but the last."""
        last = max(self.counts, default=-1)
        for index in range(last + 1):
            yield from (yield from self._unopened(index))
        for index, samples in sorted(self.counts.items()):
            full = self._finished.samples_per_shard
            if samples != full and index != last:
                yield Difference(f"{shard_name(index)}.tar", f"holds {samples} samples, should hold {full}")
        held = sum(self.counts.values())
        if held != self._due:
            yield Difference("output shards", f"hold {held} samples, should hold {self._due}")


def _quietly(opened: Generator[Difference, None, OutputShard]) -> OutputShard:
    """An output shard, its differences told before."""
