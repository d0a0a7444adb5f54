"""The semantic join of a job, in steps that several workers share: blocks of vectors, then groups of cells.

One worker makes the centres of the cells (`plan_join`). Each block of score parts is put in the order of the cells
(`sort_block`), some cells at a time are compared (`compare_cells`), and what they find is kept under `edges/`: a join
that was killed goes on, and what is done of it is not done again. What is found does not depend on who does it.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from beam_curator.duplicates.cells import Assigning, Cells, cells_for, sample_size
from beam_curator.duplicates.competitors import Classes, Samples
from beam_curator.duplicates.edges import Edges
from beam_curator.duplicates.products import best_products, one_thread_a_product
from beam_curator.duplicates.semantic import (
    Compared,
    Indices,
    Join,
    Meeting,
    Members,
    centres_for,
    edges_in_cells,
    members_of,
    work_in_cells,
)
from beam_curator.duplicates.settings import SEMANTIC
from beam_curator.duplicates.vectors import Vectors
from beam_curator.errors import JobError
from beam_curator.output.edge_store import EdgeStore
from beam_curator.output.stored_vectors import check_dim, stored_vectors, vectors_file, vectors_of_part, write_vectors
from beam_curator.output.vector_blocks import BASE, KNOWN, BlockCounts, read_counts, read_rows, write_block
from beam_curator.process_tuning import share_of_cores
from beam_curator.temporaries import temporary_directory

_BLOCK = 1 << 16
"""The vectors that a block has, about: 100 MB of 768 numbers, and those of guests."""

_MOST_BLOCKS = 4096
_GROUPS = 64
_MEMBERS = 1 << 17
"""The most vectors that a group of cells has, about: 200 MB of 768 numbers."""

_MOST_VISITS = 16
"""The most cells, on average, that a vector is written to as a guest."""

_DRAWN_FROM = 8
"""The score parts that vectors are drawn from have so many times as many as centres are made from."""


@dataclasses.dataclass(frozen=True)
class JoinPlace:
    """A join, and where it keeps what is done of it.

    Attributes:
      output: the job's directory.
      fingerprint: what shapes the join.
      classes: how many vectors are compared.
      join: how, on a device of the worker's choice.
    """

    output: str
    fingerprint: str
    classes: int
    join: Join

    @property
    def store(self) -> EdgeStore:
        """The store of the join's edges."""
        return EdgeStore(self.output, SEMANTIC)

    def block(self, digest: str, index: int) -> str:
        """The name of a block in the output directory."""
        return f"{self.store.directory(self.fingerprint)}/block-{digest}-{index:05d}.parquet"

    def on_this_worker(self) -> Join:
        """The join with the threads and the device that there are."""
        return dataclasses.replace(self.join, threads=share_of_cores(), propose=best_products())


@dataclasses.dataclass(frozen=True)
class VectorsOfPart:
    """Vectors of a score part that are compared.

    Attributes:
      part: its path.
      rows: how many it has.
      which: int32 [m], which of them.
      ranks: int32 [m], theirs.
      flags: uint8 [m], `vector_blocks.KNOWN` and `BASE`.
    """

    part: str
    rows: int
    which: NDArray[np.int32]
    ranks: NDArray[np.int32]
    flags: NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class BlockTask:
    """A block that is to be written.

    Attributes:
      place: of the join.
      index: which block.
      parts: what is in it.
    """

    place: JoinPlace
    index: int
    parts: Sequence[VectorsOfPart]


@dataclasses.dataclass(frozen=True)
class CellsTask:
    """Some cells whose vectors are to be compared.

    Attributes:
      place: of the join.
      name: of what they find.
      centres: the digest of the centres.
      first, last: of these cells.
      runs: of each block that has some of them: its index, and the first and the last row but one, int64 [blocks, 3].
    """

    place: JoinPlace
    name: str
    centres: str
    first: int
    last: int
    runs: NDArray[np.int64]


def plan_join(place: JoinPlace, compared: Compared, samples: Samples, classes: Classes) -> Iterator[BlockTask]:
    """The blocks of a join; none where nothing has to be compared. The centres of its cells are kept before.

    Args:
      place: of the join.
      compared: all classes, for their ids and flags.
      samples: all samples, by range.
      classes: of these.

    Raises:
      JobError: for embeddings of several encoders, and where there is no room for those that are sampled.
      StorageError: when parts cannot be read, or centres not be written, after retries.
    """
    if not compared.any_wanted():
        return
    place.store.begin(place.fingerprint)
    if place.store.centres(place.fingerprint) is None:
        place.store.keep_centres(place.fingerprint, _centres(place, compared, samples, classes))
    flags = (compared.known * KNOWN + compared.base * BASE).astype(np.uint8)
    starts, size = samples.starts, max(_BLOCK, len(classes) // _MOST_BLOCKS)
    by_row = np.argsort(classes.row)
    ends = np.searchsorted(classes.row[by_row], starts)
    parts: list[VectorsOfPart] = []
    index = 0
    for number, of_range in enumerate(samples.ranges):
        ranks = by_row[ends[number] : ends[number + 1]]
        if len(ranks):
            which = (classes.row[ranks] - starts[number]).astype(np.int32)
            rows = len(of_range.table)
            parts.append(VectorsOfPart(of_range.part, rows, which, ranks.astype(np.int32), flags[ranks]))
        if sum(len(one.ranks) for one in parts) >= size:
            yield BlockTask(place, index, parts)
            index, parts = index + 1, []
    if parts:
        yield BlockTask(place, index, parts)


def _centres(place: JoinPlace, compared: Compared, samples: Samples, classes: Classes) -> NDArray[np.float32]:
    """Centres, from the vectors of some ranges: the first by the hash of their names that have enough."""
    extent = compared.extent
    wanted = _DRAWN_FROM * sample_size(cells_for(extent.vectors, extent.new))
    drawn = np.argsort([hashlib.sha256(one.range.encode()).digest() for one in samples.ranges])
    of_range = np.searchsorted(samples.starts, classes.row, "right") - 1
    counts = np.bincount(of_range, minlength=len(samples.ranges))
    enough = int(np.searchsorted(np.cumsum(counts[drawn]), wanted)) + 1
    candidates = np.flatnonzero(np.isin(of_range, drawn[:enough]))
    join = place.on_this_worker()
    with (
        stored_vectors([one.part for one in samples.ranges], samples.sizes) as vectors,
        one_thread_a_product(),
        ThreadPoolExecutor(join.threads) as threads,
    ):
        rows = classes.row[candidates]
        nothing = np.zeros(len(rows), bool)
        some = Compared(lambda ones: vectors.of_rows(rows[ones]), nothing, nothing, compared.ids[candidates])
        return centres_for(some, join, extent, threads, _MOST_VISITS)


class Assigned:
    """The centres of a join, as a worker keeps them from one block to the next."""

    def __init__(self) -> None:
        self._of: JoinPlace | None = None
        self._assigning: Assigning | None = None
        self._digest = ""

    def to(self, place: JoinPlace) -> tuple[Assigning, str]:
        """Makes what assigns vectors to the cells of a join; returns it with the digest of their centres, 8 hex digits.

        Raises:
          JobError: where they are gone.
        """
        if self._assigning is None or self._of != place:
            centres = place.store.centres(place.fingerprint)
            if centres is None:
                raise JobError(
                    f"{place.store.path(place.fingerprint, 'centres.parquet')} is gone, or damaged, while duplicates "
                    "are compared: run the same command again"
                )
            self._of, self._digest = place, hashlib.sha256(centres.tobytes()).hexdigest()[:8]
            self._assigning = Cells(centres, place.join.reach).prepared(best_products())
        return self._assigning, self._digest


def sort_block(task: BlockTask, assigned: Assigned) -> tuple[JoinPlace, str, BlockCounts]:
    """Writes a block, if it is not there yet: gives the join, the digest of its centres, and who is in which cell.

    Raises:
      JobError: for embeddings of another encoder.
      StorageError: when parts cannot be read, or the block not be written, after retries.
    """
    place = task.place
    assigning, digest = assigned.to(place)
    cells, dim = assigning.centres.shape
    name = place.block(digest, task.index)
    ranks, flags = (np.concatenate([getattr(one, field) for one in task.parts]) for field in ("ranks", "flags"))
    order = np.argsort(ranks)
    ranks, flags = ranks[order], flags[order]
    counts = read_counts(_path(place, name), task.index, cells, ranks)
    if counts is None:
        vectors = _vectors_of(task.parts, dim)

        def of_ranks(some: NDArray[np.integer]) -> Vectors:
            return vectors[order[np.searchsorted(ranks, some)]]

        with one_thread_a_product(), ThreadPoolExecutor(share_of_cores()) as threads:
            members = members_of(of_ranks, ranks.astype(np.int64), assigning, threads)
        rank = members.rank
        of_members = flags[np.searchsorted(ranks, rank)]
        write_block(place.output, name, members, of_members, lambda some: of_ranks(rank[some]), dim)
        counts = BlockCounts.of(task.index, members, cells)
    return place, digest, counts


def _path(place: JoinPlace, name: str) -> str:
    return place.store.path(place.fingerprint, name.rpartition("/")[2])


def _vectors_of(parts: Sequence[VectorsOfPart], dim: int) -> Vectors:
    """The vectors of all of these: float16 [m, dim]."""
    found = np.empty((sum(len(one.which) for one in parts), dim), np.float16)
    start = 0
    for one in parts:
        vectors = vectors_of_part(one.part, one.rows)
        check_dim(one.part, vectors, dim)
        found[start : start + len(one.which)] = vectors[one.which]
        start += len(one.which)
    return found


def group_cells(sorted_blocks: Iterable[tuple[JoinPlace, str, BlockCounts]]) -> Iterator[CellsTask]:
    """Groups all cells into tasks of about the same work, from all blocks of a join, in any order.

    Raises:
      JobError: for blocks that were put in the order of other cells: a worker that was taken for dead wrote them late.
    """
    told = sorted(sorted_blocks, key=lambda one: one[2].index)
    if not told:
        return
    place, centres, _ = told[0]
    if any(of != centres for _, of, _ in told):
        raise JobError(
            f"{place.store.path(place.fingerprint, 'centres.parquet')} was written anew while duplicates are compared: "
            "run the same command again"
        )
    counts = [one for _, _, one in told]
    residents, guests = (np.sum([getattr(one, of) for one in counts], axis=0) for of in ("residents", "guests"))
    ends = np.cumsum([one.residents + one.guests for one in counts], axis=1)
    work = np.cumsum(work_in_cells(residents, guests))
    groups = max(_GROUPS, -(-int(ends[:, -1].sum()) // _MEMBERS))
    group = (work - 1) // -(-work[-1] // groups)
    indices = np.array([one.index for one in counts])
    begins = np.flatnonzero(np.diff(group)) + 1
    content = "".join(one.digest for one in counts) + str(begins.tolist())  # groups of other cells have other names
    digest = hashlib.sha256(content.encode()).hexdigest()[:8]
    for number, cells in enumerate(np.split(np.arange(len(work)), begins)):
        first = ends[:, cells[0] - 1] if cells[0] else np.zeros(len(counts), np.int64)
        runs = np.stack([indices, first, ends[:, cells[-1]]], axis=1)
        runs = runs[runs[:, 1] < runs[:, 2]]
        if len(runs):
            yield CellsTask(place, f"{digest}-{number:05d}", centres, int(cells[0]), int(cells[-1]), runs)


def compare_cells(task: CellsTask) -> str:
    """Finds the pairs that meet in some cells, if they are not kept yet, and keeps them: gives their name.

    Raises:
      JobError: where there is no room for the vectors on the disk for temporary files, and where a block is not as it
        was told: another processor rounds centres otherwise, and may write it late.
      StorageError: when blocks cannot be read, or pairs not be written, after retries.
    """
    place = task.place
    pieces = place.store.pieces(place.fingerprint, place.classes)
    if pieces.recall(task.name) is None:
        with temporary_directory("beam-curator-") as directory:
            pieces.keep(task.name, _compared(task, Path(directory)))
    return task.name


def _compared(task: CellsTask, directory: Path) -> Edges:
    """The pairs of some cells, whose vectors are in a file on this disk in the meantime."""
    place, total = task.place, int((task.runs[:, 2] - task.runs[:, 1]).sum())
    rank, cell = np.empty(total, np.int32), np.empty(total, np.int32)
    resident, known, base = np.empty((3, total), bool)
    file: np.memmap | None = None
    start = 0
    for index, first, end in task.runs.tolist():
        path = _path(place, place.block(task.centres, index))
        found = read_rows(path, first, end)
        of_rows = found.members.cell
        if len(of_rows) != end - first or of_rows[0] < task.first or of_rows[-1] > task.last:
            raise JobError(f"{path} was written anew while duplicates are compared: run the same command again")
        file = vectors_file(directory / "vectors", total, found.vectors.shape[1]) if file is None else file
        write_vectors(file, start, found.vectors)
        some = slice(start, start + end - first)
        rank[some], cell[some], resident[some] = found.members.rank, found.members.cell, found.members.resident
        known[some], base[some] = found.known, found.base
        start += end - first
    assert file is not None
    ranks, at, number = np.unique(rank, return_index=True, return_inverse=True)
    join, stored = place.on_this_worker(), file

    def of_ranks(some: Indices) -> Vectors:
        return np.asarray(stored[at[some]])

    meeting = Meeting(of_ranks, base[at], known[at])
    members = Members.of(number.ravel().astype(np.int32), cell, resident)
    with one_thread_a_product(), ThreadPoolExecutor(join.threads) as threads:
        return edges_in_cells(meeting, join, members, threads).among(ranks.astype(np.int64), place.classes)
