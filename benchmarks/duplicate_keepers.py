"""Measures what the one worker that says which duplicates stay is sent, and what it holds.

python -m benchmarks.duplicate_keepers --rows 1000000 --kinds semantic
python -m benchmarks.duplicate_keepers --rows 1000000 --kinds exact,semantic

Ranges of 4,000 drawn rows, a tenth of which repeat the one before them, lie in files as a runner has them. One row in
twelve has a pair of embeddings, as if workers had found it: no embedding is read.
"""

from __future__ import annotations

import argparse
import dataclasses
import pickle
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from beam_curator import rows
from beam_curator.duplicates.competitors import Competitors, competitors_in
from beam_curator.duplicates.edges import listed
from beam_curator.duplicates.settings import SEMANTIC, DuplicateSettings
from beam_curator.output.deduplicating import _Asked, find_duplicates
from beam_curator.output.edge_store import PartIds
from beam_curator.transforms.semantic_join import samples_in
from benchmarks.duplicates import Memory
from benchmarks.tables import machine, markdown

_RANGE = 4000


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--kinds", default="exact,semantic", help="exact, semantic, or both")
    parser.add_argument("--dir", help="for temporary files")
    flags = parser.parse_args(argv)
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory(prefix="keepers-", dir=flags.dir) as directory:
        row = _measured(Path(directory), flags.rows, DuplicateSettings(flags.kinds))
    columns = ["rows", "kinds", "dropped", "sent, bytes a row", "held at most, bytes a row", "s of a core"]
    print(markdown(columns, [row]))
    return 0


class _OnDisk:
    """A value in a file, as `Spillable` has it."""

    def __init__(self, place: Path, value: Any) -> None:
        self._place, self.size = place, place.write_bytes(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))

    @property
    def value(self) -> Any:
        """Read anew each time it is asked for."""
        return pickle.loads(self._place.read_bytes())


@dataclasses.dataclass(frozen=True)
class _Gathered:
    """The input of the worker.

    Attributes:
      ranges: of the job, as one worker gathers them.
      ids: of the vectors of each range.
      pieces: the names of the pairs that workers have found.
    """

    ranges: Any
    ids: Mapping[str, _OnDisk]
    pieces: Sequence[str]

    def ids_told(self) -> dict[str, PartIds]:
        """The ids, read."""
        return {name: one.value for name, one in self.ids.items()}


def _measured(directory: Path, count: int, settings: DuplicateSettings) -> list[str]:
    with ProcessPoolExecutor(1, get_context("spawn")) as another:  # which leaves no memory behind
        given = another.submit(_given, directory, count, settings).result()
    with Memory() as memory:
        time.sleep(1)
        before, cpu = memory.most, time.process_time()
        samples = samples_in(given.ranges, settings)
        drops = find_duplicates(str(directory / "output"), settings, samples, given.ids_told(), given.pieces)
        cpu = time.process_time() - cpu
    told = sum(one.size for one in (*(one for _, one in given.ranges[1]), *given.ids.values())) / count
    dropped = sum(len(one.rows) for one in drops.values())
    held = (memory.most - before) / count
    return [f"{count:,}", ", ".join(settings.kinds), f"{dropped:,}", f"{told:.0f}", f"{held:.0f}", f"{cpu:.1f}"]


def _given(directory: Path, count: int, settings: DuplicateSettings) -> _Gathered:
    """Writes what the worker is given."""
    random = np.random.default_rng(0)
    ranges: list[tuple[int, _OnDisk]] = []
    ids: dict[str, _OnDisk] = {}
    for start in range(0, count, _RANGE):
        size = min(_RANGE, count - start)
        one = Competitors(f"{start:09d}", "shard", start, "", competitors_in(_facts(random, start, size), settings))
        ranges.append((0, _OnDisk(directory / f"range-{start}", one)))
        if SEMANTIC in settings.kinds:
            names = pa.array(_repeated(random, size, 16), pa.binary())
            ids[one.range] = _OnDisk(directory / f"ids-{start}", PartIds("digest", names))
    given = _Gathered((None, ranges), ids, ["00000000-00000"] if ids else [])
    if ids:
        _keep_pairs(str(directory / "output"), settings, given, random)
    return given


def _keep_pairs(output: str, settings: DuplicateSettings, given: _Gathered, random: np.random.Generator) -> None:
    """Keeps a piece of pairs of neighbours in the order of keepers."""
    samples = samples_in(given.ranges, settings)
    assert samples is not None
    asked = _Asked.of(output, samples, settings, given.ids_told())
    classes = len(asked.classes)
    first = random.integers(0, max(classes - 40, 1), classes // 12)
    second = first + random.integers(1, 40, len(first))
    found = listed(classes, first, second, np.full(len(first), 0.98))
    asked.place.store.pieces(asked.place.fingerprint, classes).keep(given.pieces[0], found)


def _repeated(random: np.random.Generator, count: int, size: int) -> list[bytes]:
    found = [random.bytes(size) for _ in range(count)]
    for row in np.flatnonzero(random.random(count - 1) < 0.1).tolist():
        found[row + 1] = found[row]
    return found


def _facts(random: np.random.Generator, start: int, count: int) -> pa.Table:
    checks = random.integers(1 << 32, size=count).tolist()
    sides = random.integers(200, 2000, (2, count), np.int32)
    return pa.table(
        {
            "sample_id": [f"{start // _RANGE:05d}.tar:{row * 20480}:{check:08x}" for row, check in enumerate(checks)],
            "status": [rows.KEPT] * count,
            "width": sides[0],
            "height": sides[1],
            "bytes": random.integers(1000, 1 << 20, count),
            "aesthetic": random.random(count, np.float32),
            "sha256": [one.hex() for one in _repeated(random, count, 32)],
        }
    )


if __name__ == "__main__":
    sys.exit(main())
