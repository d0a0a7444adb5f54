"""Holds what all sections of `benchmarks.gpu` are made of: their rows, how much they measure, and the time that is
left."""

import dataclasses
import time
from collections.abc import Iterator, Mapping
from typing import Any

Rows = Iterator[Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Size:
    """The amount of measuring.

    Attributes:
      model: an open_clip architecture, or "tiny-untrained".
      batch_sizes: images a pass, ascending.
      passes: of each that is timed.
      images: of each size of photographs.
      threads: that decode.
      processes: that share the GPU.
      jobs: the commands that are run: size of photographs, decoding, processes.
      job_images: of a command, for each of its processes.
    """

    model: str
    batch_sizes: tuple[int, ...]
    passes: int
    images: int
    threads: tuple[int, ...]
    processes: tuple[int, ...]
    jobs: tuple[tuple[str, str, int], ...]
    job_images: int


_JOBS = (("256 px", "fast", 1), ("256 px", "fast", 8), ("256 px", "exact", 8), ("0.55 MP", "fast", 8))

SIZES = {
    "full": Size("ViT-L-14-quickgelu", (16, 64, 256, 512), 12, 3000, (1, 4, 8, 16), (1, 4, 8), _JOBS, 6000),
    "tiny": Size("tiny-untrained", (2, 4), 2, 12, (1, 2), (1,), _JOBS[:1], 12),
}


@dataclasses.dataclass
class Clock:
    """A clock that says how much time is left."""

    seconds: float
    started: float = dataclasses.field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        return self.seconds - (time.monotonic() - self.started)
