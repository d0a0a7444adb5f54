"""Semantic duplicates: are all pairs found, how long does it take, and what do others find.

python -m benchmarks.duplicates recall                 three times 100,000 vectors against brute force in float64
python -m benchmarks.duplicates scale --rows 1000000   the time and the memory of a join, and of one keeper a group
python -m benchmarks.duplicates scale --rows 1000000 --copies 0 300000 --near    with near copies beside without
python -m benchmarks.duplicates rules                  SemDeDup's rule and connected components, on the same vectors

Vectors are drawn: in a cone and in clumps, as CLIP's are, with planted copies and chains.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa

from beam_curator.duplicates.arrow_columns import fixed_width
from beam_curator.duplicates.cells import Cells
from beam_curator.duplicates.competitors import classes_of
from beam_curator.duplicates.edges import Edges
from beam_curator.duplicates.keepers import Drops, Relation, keep_one
from beam_curator.duplicates.products import numpy_products, one_thread_a_product
from beam_curator.duplicates.scratch import counted, laid_aside, pieces_of
from beam_curator.duplicates.semantic import (
    PROVEN,
    Compared,
    Cosines,
    Join,
    centres_for,
    edges_in_cells,
    members_of,
    semantic_edges,
)
from beam_curator.duplicates.vectors import ID_BYTES, ids_of
from beam_curator.output.stored_vectors import ID_TYPE
from benchmarks.duplicate_vectors import make_vectors
from benchmarks.tables import machine, markdown

THRESHOLDS = (0.98, 0.95, 0.92)
CELLS = (100, 300, 1200)
SEEDS = (0, 1, 2)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, and prints a table."""
    flags = _parse(argv)
    print(f"{machine()}", flush=True)
    with tempfile.TemporaryDirectory(prefix="duplicates-", dir=flags.dir) as directory:
        flags.run(flags, Path(directory))
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        prog="python -m benchmarks.duplicates",
    )
    kinds = parser.add_subparsers(required=True)
    for name, run, rows in (("recall", _recall, 100_000), ("scale", _scale, 1_000_000), ("rules", _rules, 100_000)):
        one = kinds.add_parser(name)
        one.set_defaults(run=run)
        one.add_argument("--rows", type=int, default=rows)
        one.add_argument("--dim", type=int, default=768)
        one.add_argument("--dir", help="for temporary files")
        one.add_argument("--cosine", type=float, default=0.97)
        if name == "scale":
            told = "how many of the rows are of one picture; of several numbers, one after the other"
            one.add_argument("--copies", type=int, nargs="+", default=[0], help=told)
            one.add_argument("--near", action="store_true", help="these are not equal, but nearly so")
        if name == "recall":
            one.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
            one.add_argument("--cosines", type=float, nargs="+", default=THRESHOLDS)
    return parser.parse_args(argv)


def _compared(vectors: np.ndarray) -> tuple[Compared, np.ndarray]:
    """Distinct vectors in the order of their rows, and the class of each row."""
    names = laid_aside(map(ids_of, pieces_of(vectors)), f"V{ID_BYTES}").view(np.uint8)
    ids = pa.FixedSizeBinaryArray.from_buffers(ID_TYPE, len(vectors), [None, pa.py_buffer(names)])
    classes = classes_of(counted(len(vectors)), ids)
    row, no = classes.row, np.zeros(len(classes), bool)
    return Compared(lambda ones: vectors[row[ones]], no, no, fixed_width(classes.ids)), classes.of_samples


def _join(cosine: float, cells: int | None = None, slack: float = PROVEN, seed: int = 0) -> Join:
    return Join(cosine, slack, cells, seed, threads=os.cpu_count() or 1)


def _pairs(edges: Edges) -> np.ndarray:
    return edges.first.astype(np.int64) * edges.classes + edges.second


def _brute_force(compared: Compared, cosine: float) -> tuple[np.ndarray, np.ndarray]:
    """All pairs that reach a cosine, and their cosines in float64: every vector is compared with every other.

    Products in float32 leave out what is far below the cosine: those of unit vectors of n numbers are off by n 2**-24
    at most, however they are summed, and by less than that again for their lengths. Ten times that is allowed.
    """
    count = len(compared.ids)
    wide = compared.vectors(np.arange(count)).astype(np.float64)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    narrow = wide.astype(np.float32)
    far = 10 * narrow.shape[1] * 2.0**-24
    pairs, found = [], []
    for start in range(0, count, _BLOCK):
        near = np.flatnonzero(narrow[start : start + _BLOCK] @ narrow[start:].T >= cosine - far)
        one, other = np.divmod(near, count - start)
        one, other = one[one < other] + start, other[one < other] + start
        cosines = np.concatenate([np.zeros(0), *map(_dots, *(_parts_of(wide, rows) for rows in (one, other)))])
        reached = cosines >= cosine
        found.append(np.minimum(cosines[reached], 1))
        pairs.append(one[reached] * count + other[reached])
    return np.concatenate(pairs), np.concatenate(found)


_BLOCK = 1024


def _parts_of(vectors: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    return (vectors[rows[start : start + 4096]] for start in range(0, len(rows), 4096))


def _dots(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", one, other)


def _recall(flags: argparse.Namespace, directory: Path) -> None:
    rows = []
    for seed in flags.seeds:
        started = time.perf_counter()
        cliques = flags.rows // 1000
        vectors = make_vectors(directory / f"vectors-{seed}", flags.rows, flags.dim, seed, cliques=cliques)
        compared, classes = _compared(vectors)
        made = time.perf_counter()
        all_pairs, cosines = _brute_force(compared, min(flags.cosines))
        print(f"seed {seed}: vectors {made - started:.0f} s, all pairs {time.perf_counter() - made:.0f} s", flush=True)
        for cosine in flags.cosines:
            due = all_pairs[cosines >= cosine]
            keepers = _greedy(due, len(compared.ids))
            for count in CELLS:
                rows.append(_recalled(compared, classes, due, keepers, cosine, count, seed))
                print(" ".join(rows[-1]), flush=True)
    columns = ["cosine", "cells", "seed", "pairs", "recall", "wrong", "left out by rule", "other keepers", "seconds"]
    print(markdown(columns, rows))


def _recalled(
    compared: Compared,
    classes: np.ndarray,
    due: np.ndarray,
    keepers: np.ndarray,
    cosine: float,
    cells: int,
    seed: int,
) -> list[str]:
    """Makes a row: which pairs that are due are found, and whether each vector has the keeper that all pairs give
    it."""
    started = time.perf_counter()
    edges = semantic_edges(compared, _join(cosine, cells, seed=seed))
    seconds = time.perf_counter() - started
    found, count = _pairs(edges), len(compared.ids)
    absent = np.setdiff1d(due, found)
    horizon = np.full(count, count)
    horizon[edges.cut] = edges.horizon
    first, second = np.divmod(absent, count)
    left_out = int(((second > horizon[first]) & (first > horizon[second])).sum())
    recall = 1 - (len(absent) - left_out) / max(len(due) - left_out, 1)
    drops = _kept(compared, classes, edges, cosine)
    given = np.full(count, -1)
    given[classes[drops.rows]] = classes[drops.of]
    wrong, other = len(np.setdiff1d(found, due)), int((given != keepers).sum())
    row = [cosine, cells, seed, f"{len(due):,}", f"{recall:.7f}", wrong, f"{left_out:,}", other, f"{seconds:.1f}"]
    return list(map(str, row))


def _greedy(pairs: np.ndarray, count: int) -> np.ndarray:
    """The keeper of each vector, by the definition itself, from all pairs; -1 of those that stay."""
    first, second = np.divmod(np.sort(pairs), count)
    order = np.lexsort((first, second))
    keepers = np.full(count, -1)
    for one, other in zip(first[order].tolist(), second[order].tolist(), strict=True):
        if keepers[other] < 0 and keepers[one] < 0:
            keepers[other] = one
    return keepers


def _scale(flags: argparse.Namespace, directory: Path) -> None:
    scaled = []
    for copies in flags.copies:
        vectors = make_vectors(directory / "vectors", flags.rows, flags.dim, 7, copies, not flags.near)
        scaled.append(_scaled(vectors, copies, _join(flags.cosine)))
    columns = ["rows", "copies", "distinct", "pairs listed", "cut", "dropped", "cells", "a vector is in", "products"]
    print(markdown(columns, [counts for counts, _ in scaled]))
    columns = ["rows", "copies", *(f"{name}, s of a core" for name in _STEPS), "all, s", "memory, GB"]
    print(markdown(columns, [[*counts[:2], *costs] for counts, costs in scaled]))
    print("products: of a vector, in its cells; memory: without what is mapped from files: vectors, a sample of")
    print("them as float32 while centres are made, and who is in which cell")


_STEPS = ("names", "centres", "cells", "pairs", "keepers")


def _scaled(vectors: np.ndarray, copies: int, join: Join) -> tuple[list[str], list[str]]:
    """Counts what is found, and what it costs: the steps of `semantic_edges`, with names before and keepers after
    it."""
    counting = _Counted()
    with Memory() as memory, one_thread_a_product(), ThreadPoolExecutor(join.threads) as threads:
        clock, cpu = time.perf_counter(), [time.process_time()]

        def ended(step: str) -> None:
            cpu.append(time.process_time())
            told = f"{len(vectors):,} rows, {copies:,} copies: {step} {cpu[-1] - cpu[-2]:.0f} s of a core"
            print(f"{told}, {memory.most / 1e9:.2f} GB", flush=True)

        compared, classes = _compared(vectors)
        ended("names")
        cells = Cells(centres_for(compared, join, compared.extent, threads), join.reach)
        ended("centres")
        members = members_of(compared.vectors, counted(len(compared)), cells.prepared(), threads)
        ended("cells")
        edges = edges_in_cells(compared, dataclasses.replace(join, propose=counting), members, threads)
        ended("pairs")
        drops = _kept(compared, classes, edges, join.threshold)
        ended("keepers")
        seconds = time.perf_counter() - clock
    counts = (len(vectors), copies, len(compared), len(edges.first), len(edges.cut), len(drops.rows))
    visits, products = len(members) / len(compared), counting.pairs / len(compared)
    of_cells = [f"{len(cells.centres):,}", f"{visits:.2f} cells", f"{products:,.0f}"]
    costs = [f"{one:.0f}" for one in (*np.diff(cpu), seconds)]
    return [*(f"{one:,}" for one in counts), *of_cells], [*costs, f"{memory.most / 1e9:.2f}"]


class _Counted:
    """Makes products on the processor, and counts them.

    Attributes:
      pairs: how many products.
    """

    def __init__(self) -> None:
        self.pairs, self._lock = 0, threading.Lock()

    def __call__(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        found = numpy_products(one, other)
        with self._lock:
            self.pairs += found.size
        return found


def _kept(compared: Compared, classes: np.ndarray, edges: Edges, cosine: float) -> Drops:
    relation = Relation("semantic", classes, edges, Cosines(compared.vectors, _join(cosine)), 1.0)
    return keep_one(counted(len(classes)), np.ones(len(classes), bool), np.zeros(len(classes), bool), [relation])


class Memory:
    """The most memory of this process's own, in bytes, while the block runs."""

    def __enter__(self) -> Memory:
        self.most = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._over.wait(0.2):
            found = re.search(r"^RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
            self.most = max(self.most, int(found[1]) * 1024 if found else 0)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def _rules(flags: argparse.Namespace, directory: Path) -> None:
    """Prints which pairs others find, and whether what they drop has a keeper that stays."""
    vectors = make_vectors(directory / "vectors", flags.rows, flags.dim, seed=7)
    compared, classes = _compared(vectors)
    count = len(compared.ids)
    started = time.perf_counter()
    whole = semantic_edges(compared, _join(flags.cosine))
    own_seconds = time.perf_counter() - started
    drops = _kept(compared, classes, whole, flags.cosine)
    rows = [_told("all pairs, one keeper a group (ours)", whole, whole, classes[drops.rows], own_seconds)]
    for cells in (round(count**0.5), count // 200):
        started = time.perf_counter()
        alone = semantic_edges(compared, _join(flags.cosine, cells, slack=1e-9))
        seconds = time.perf_counter() - started
        later = np.unique(
            alone.second
        )  # SemDeDup: goes if an earlier one of its cell is near, whether that stays or not
        rows.append(_told(f"SemDeDup's rule, {cells} cells", whole, alone, later, seconds))
    started = time.perf_counter()
    gone = _all_but_first_of_component(whole)
    rows.append(
        _told("connected components (DINOv2's rule)", whole, whole, gone, own_seconds + time.perf_counter() - started)
    )
    columns = ["rule", "pairs found", "dropped", "no keeper within the cosine", "pairs kept", "seconds"]
    print(markdown(columns, rows))


def _told(name: str, whole: Edges, found: Edges, gone: np.ndarray, seconds: float) -> list[str]:
    dropped = np.zeros(whole.classes, bool)
    dropped[gone] = True
    kept_pair = ~dropped[whole.first] & ~dropped[whole.second]
    has_keeper = np.zeros(whole.classes, bool)
    has_keeper[whole.first[~dropped[whole.second]]] = True
    has_keeper[whole.second[~dropped[whole.first]]] = True
    orphans = int((dropped & ~has_keeper).sum())
    share = f"{len(np.intersect1d(_pairs(found), _pairs(whole))) / max(len(whole.first), 1):.4f}"
    return [name, share, f"{int(dropped.sum()):,}", f"{orphans:,}", f"{int(kept_pair.sum()):,}", f"{seconds:.1f}"]


def _all_but_first_of_component(edges: Edges) -> np.ndarray:
    leader = np.arange(edges.classes)
    while True:
        least = leader.copy()
        np.minimum.at(least, edges.first, leader[edges.second])
        np.minimum.at(least, edges.second, leader[edges.first])
        if np.array_equal(least, leader):
            return np.flatnonzero(leader != np.arange(edges.classes))
        leader = least


if __name__ == "__main__":
    sys.exit(main())
