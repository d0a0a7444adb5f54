"""Keeps how far the job is: what the workers of this process have done, where other processes of the job can read
it."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from beam_curator.phases import PHASES
from beam_curator.samples import ShardRange


@dataclasses.dataclass
class Done:
    """Counts of what a job has done so far. Sizes are in bytes of uncompressed shards; times in seconds since 1970.

    Attributes:
      phase: the phase that is under way: the last one in the order of `PHASES` that has begun; "" before the first.
      began: when that phase began.
      planned_shards: shards that are cut into ranges.
      ranges: ranges that these shards are cut into.
      planned_bytes: size of these ranges; an estimate where nobody knows how large images are.
      ranges_scored: ranges whose scores are written, by this run or an earlier one.
      samples: samples whose scores are written, by this run or an earlier one.
      failed: how many of `samples` cannot be used.
      scored: how many of `samples` this run scored.
      embedded: samples that are embedded, or have failed, in ranges whose scores are not written yet.
      embedded_failed: how many of `embedded` have failed.
      bytes: size of `samples`.
      scored_bytes: size of `scored`.
      embedded_bytes: size of `embedded`.
      groups: groups of cells whose embeddings are to be compared, in the search for semantic duplicates.
      groups_compared: how many of `groups` are compared.
      comparing_since: when the first group was known; 0 before that.
      ledger_files: ranges whose rows of the ledger are written.
      output_shards: output shards that are written.
      output_shards_due: how many output shards there will be; 0 where that is not known.
      written: samples in `output_shards`.
      loading: names of the models that are being loaded.
      flowing_since: when the first images of this run were embedded; 0 before that. Rates are counted from then on, so
        that loading a model is no part of them.
      flowing_samples, flowing_bytes: `embedded` and `embedded_bytes` at `flowing_since`.
    """

    phase: str = ""
    began: float = 0.0
    planned_shards: int = 0
    ranges: int = 0
    planned_bytes: int = 0
    ranges_scored: int = 0
    samples: int = 0
    failed: int = 0
    scored: int = 0
    embedded: int = 0
    embedded_failed: int = 0
    bytes: int = 0
    scored_bytes: int = 0
    embedded_bytes: int = 0
    groups: int = 0
    groups_compared: int = 0
    comparing_since: float = 0.0
    ledger_files: int = 0
    output_shards: int = 0
    output_shards_due: int = 0
    written: int = 0
    loading: tuple[str, ...] = ()
    flowing_since: float = 0.0
    flowing_samples: int = 0
    flowing_bytes: int = 0

    def __add__(self, other: Done) -> Done:
        """The sum of two processes' counts."""
        counts = {name: getattr(self, name) + getattr(other, name) for name in _COUNTS}
        loading = tuple(sorted({*self.loading, *other.loading}))
        last = max((self, other), key=lambda done: (_place(done.phase), -done.began))
        counts["output_shards_due"] = max(self.output_shards_due, other.output_shards_due)
        flowing = _earlier(self.flowing_since, other.flowing_since)
        comparing = _earlier(self.comparing_since, other.comparing_since)
        return Done(last.phase, last.began, loading=loading, flowing_since=flowing, comparing_since=comparing, **counts)


_COUNTS = [
    field.name for field in dataclasses.fields(Done) if field.type == "int" and field.name != "output_shards_due"
]


def _earlier(one: float, other: float) -> float:
    """The earlier of two times, of which 0 stands for never."""
    return min(filter(None, (one, other)), default=0.0)


def _place(phase: str) -> int:
    return PHASES.index(phase) if phase in PHASES else -1


SHARED_IN = "BEAM_CURATOR_PROGRESS"
"""The environment variable that names a directory where each worker process of a job says how far it is."""

_PUBLISH_SECONDS = 0.5


class Board:
    """Counts that the job's steps add to, shared by the threads of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done = Done()
        self._embedding: dict[ShardRange, tuple[int, int, int]] = {}
        self._loading: collections.Counter[str] = collections.Counter()
        self._published = 0.0

    def reset(self) -> None:
        """Begins a new job."""
        with self._lock:
            self._done, self._embedding = Done(), {}

    def enter(self, phase: str) -> None:
        """Notes that a phase has work to do; the first such note is when it begins."""
        with self._lock:
            if _place(phase) > _place(self._done.phase):
                self._done.phase, self._done.began = phase, time.time()
                self._published = 0.0
        self._publish()

    @contextlib.contextmanager
    def loading(self, model: str) -> Iterator[None]:
        """Shows, while the block runs, that this model is being loaded."""
        self._load(model, 1)
        try:
            yield
        finally:
            self._load(model, -1)

    def _load(self, model: str, by: int) -> None:
        with self._lock:
            self._loading[model] += by
            self._published = 0.0
        self._publish()

    def add_planned(self, ranges: Sequence[ShardRange]) -> None:
        """Notes that a shard is cut into these ranges."""
        self._add(planned_shards=1, ranges=len(ranges), planned_bytes=sum(one.size_bytes for one in ranges))

    def add_embedded(self, range: ShardRange, samples: int, size_bytes: int, failed: int = 0) -> None:
        """Notes that more samples of a range, of this size in its shard, are embedded or have failed."""
        with self._lock:
            before = self._embedding.get(range, (0, 0, 0))
            up_to_now = min(before[1] + size_bytes, range.size_bytes)  # of images that are larger than was planned
            self._embedding[range] = (before[0] + samples, up_to_now, before[2] + failed)
            if not self._done.flowing_since and samples > failed:
                embedded, embedded_bytes, _ = self._embedded()
                self._done.flowing_since = time.time()
                self._done.flowing_samples, self._done.flowing_bytes = embedded, embedded_bytes
        self._publish()

    def add(self, range: ShardRange, samples: int, failed: int, scored: bool) -> None:
        """Notes that a range has its scores: computed by this run (`scored`), or by an earlier one."""
        size_bytes = range.size_bytes
        if not scored:
            self._add(ranges_scored=1, samples=samples, failed=failed, bytes=size_bytes)
            return
        with self._lock:
            self._embedding.pop(range, None)
        done = {"ranges_scored": 1, "scored": samples, "scored_bytes": size_bytes}
        self._add(samples=samples, failed=failed, bytes=size_bytes, **done)

    def add_group_to_compare(self) -> None:
        """Notes a group of cells whose embeddings are to be compared."""
        with self._lock:
            self._done.comparing_since = self._done.comparing_since or time.time()
        self._add(groups=1)

    def add_group_compared(self) -> None:
        """Notes that the embeddings of a group of cells are compared."""
        self._add(groups_compared=1)

    def add_ledger_file(self) -> None:
        """Notes that the rows of a range are in the ledger."""
        self._add(ledger_files=1)

    def expect_output_shards(self, count: int) -> None:
        """Notes how many output shards will be written."""
        with self._lock:
            self._done.output_shards_due = count

    def add_output_shard(self, samples: int = 0) -> None:
        """Notes that an output shard of so many samples is written."""
        self._add(output_shards=1, written=samples)

    def _add(self, **counts: int) -> None:
        with self._lock:
            for name, by in counts.items():
                setattr(self._done, name, getattr(self._done, name) + by)
        self._publish()

    def read(self) -> Done:
        """The counts as they are now."""
        with self._lock:
            embedded, embedded_bytes, failed = self._embedded()
            return dataclasses.replace(
                self._done,
                embedded=embedded,
                embedded_bytes=embedded_bytes,
                embedded_failed=failed,
                loading=tuple(sorted(model for model, count in self._loading.items() if count)),
            )

    def _embedded(self) -> list[int]:
        """Samples, bytes and failures of ranges that are not written yet."""
        return list(map(sum, zip((0, 0, 0), *self._embedding.values(), strict=True)))

    def _publish(self) -> None:
        """Writes the counts to the directory that `SHARED_IN` names, if any, at most every `_PUBLISH_SECONDS`."""
        directory = os.environ.get(SHARED_IN)
        if directory is None:
            return
        with self._lock:
            now = time.monotonic()
            if self._published and now - self._published < _PUBLISH_SECONDS:
                return
            self._published = now
        with contextlib.suppress(OSError):  # it is about the work, and no part of it
            write_done(directory, self.read())


def write_done(directory: str, done: Done) -> None:
    """Writes this process's counts to a directory that the processes of a job share, as `PID.json`."""
    name = f"{os.getpid()}-{threading.get_ident()}"
    written = Path(directory, f"{name}.part")
    written.write_text(json.dumps(dataclasses.asdict(done)), encoding="utf-8")
    written.replace(Path(directory, f"{os.getpid()}.json"))


def read_done(directory: str) -> Done:
    """The sum of the counts that the processes of a job wrote to a directory."""
    found: list[Mapping[str, Any]] = []
    for path in sorted(Path(directory).glob("*.json")):
        with contextlib.suppress(OSError, ValueError):
            found.append(json.loads(path.read_text(encoding="utf-8")))
    return together(Done(**{**one, "loading": tuple(one["loading"])}) for one in found)


def together(found: Iterable[Done]) -> Done:
    """The sum of several processes' counts."""
    return sum(found, Done())


BOARD = Board()
"""The board of this process: it shows what runs in it, as local runners do."""
