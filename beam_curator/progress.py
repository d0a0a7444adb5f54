"""How far the job is: what the workers of this process have done, and a line about it on a terminal or in a log."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import threading
from collections.abc import Iterator

from beam_curator.samples import ShardRange


@dataclasses.dataclass
class Done:
    """What has been done so far.

    Attributes:
      samples: samples whose scores are written, or were found written.
      failed: those of them that cannot be used.
      scored: those of them that this run scored.
      embedded: samples of ranges that are not written yet, but are embedded, or have failed.
      embedded_failed: those of them that have failed.
      bytes: of shards, that `samples` cover.
      scored_bytes: of shards, that `scored` cover.
      embedded_bytes: of shards, that `embedded` cover.
      output_shards: output shards that are written.
      loading: the models that are being loaded.
    """

    samples: int = 0
    failed: int = 0
    scored: int = 0
    embedded: int = 0
    embedded_failed: int = 0
    bytes: int = 0
    scored_bytes: int = 0
    embedded_bytes: int = 0
    output_shards: int = 0
    loading: tuple[str, ...] = ()


class Board:
    """Counts that the job's steps add to, shared by the threads of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done = Done()
        self._embedding: dict[ShardRange, tuple[int, int, int]] = {}
        self._loading: collections.Counter[str] = collections.Counter()

    def reset(self) -> None:
        """Begins a new job."""
        with self._lock:
            self._done, self._embedding = Done(), {}

    @contextlib.contextmanager
    def loading(self, model: str) -> Iterator[None]:
        """While the block runs, this model is being loaded."""
        with self._lock:
            self._loading[model] += 1
        try:
            yield
        finally:
            with self._lock:
                self._loading[model] -= 1

    def add_embedded(self, range: ShardRange, samples: int, size_bytes: int, failed: int = 0) -> None:
        """Some more samples of a range are embedded, or have failed; they take so many bytes of the shard."""
        with self._lock:
            before = self._embedding.get(range, (0, 0, 0))
            self._embedding[range] = (before[0] + samples, before[1] + size_bytes, before[2] + failed)

    def add(self, range: ShardRange, samples: int, failed: int, scored: bool) -> None:
        """A range is scored, or was found scored."""
        with self._lock:
            done, size_bytes = self._done, 0 if range.compression else range.size_bytes
            done.samples += samples
            done.failed += failed
            done.bytes += size_bytes
            if scored:
                self._embedding.pop(range, None)
                done.scored += samples
                done.scored_bytes += size_bytes

    def add_output_shard(self) -> None:
        """An output shard is written."""
        with self._lock:
            self._done.output_shards += 1

    def read(self) -> Done:
        """The counts as they are now."""
        with self._lock:
            embedded, embedded_bytes, failed = map(sum, zip((0, 0, 0), *self._embedding.values(), strict=True))
            return dataclasses.replace(
                self._done,
                embedded=embedded,
                embedded_bytes=embedded_bytes,
                embedded_failed=failed,
                loading=tuple(sorted(model for model, count in self._loading.items() if count)),
            )


BOARD = Board()
"""The board of this process: it shows what runs in it, as local runners do."""
