"""The semantic join of a job, step by step as workers share it: one answer, and nothing that is done is done again."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_curator.defaults import KEEP_ORDERS
from beam_curator.duplicates import semantic
from beam_curator.duplicates.competitors import Competitors
from beam_curator.duplicates.edges import no_edges
from beam_curator.duplicates.keepers import NothingElse, Relation, keep_one
from beam_curator.duplicates.order import best_first
from beam_curator.duplicates.settings import DuplicateSettings
from beam_curator.errors import CurationError, JobError
from beam_curator.output import deduplicating, semantic_join, stored_vectors
from beam_curator.output.deduplicating import all_samples, find_duplicates, known_ids, plan_semantic_join, read_ids
from beam_curator.output.edge_store import VERSIONS, EdgeStore
from beam_curator.output.part_contents import StoredEmbeddings
from beam_curator.output.semantic_join import Assigned, JoinPlace, compare_cells, group_cells, sort_block
from beam_curator.output.vector_blocks import BlockCounts
from tests.duplicates.vector_sets import cosines, kept_by_brute_force, planted

IN_A_RANGE = 50


class Data:
    """Vectors in score parts, those of another output first."""

    def __init__(self, vectors: np.ndarray, of_other: int = 0, shards: int = 3) -> None:
        self.vectors, self.of_other, self.shards = vectors, of_other, shards
        self.areas = np.random.default_rng(0).integers(1, 20, len(vectors))  # many are equal

    def part(self, name: str) -> np.ndarray:
        start, end = map(int, name.split("-"))
        return self.vectors[start:end]

    def sets(self) -> list[list[Competitors]]:
        """Ranges of the other output, if there are any, and the job's own, in no order."""
        bounds = [(0, self.of_other), (self.of_other, len(self.vectors))]
        found = [self._ranges(*of_set) for of_set in (bounds if self.of_other else bounds[1:])]
        for ranges in found:
            random.Random(1).shuffle(ranges)
        return found

    def _ranges(self, first: int, end: int) -> list[Competitors]:
        starts = range(first, end, IN_A_RANGE)
        return [self._range(start, min(start + IN_A_RANGE, end)) for start in starts]

    def _range(self, start: int, end: int) -> Competitors:
        table = pa.table(
            {
                "sample_id": [f"{row:05d}" for row in range(start, end)],
                "competes": np.ones(end - start, bool),
                "area": self.areas[start:end],
                "bytes": np.ones(end - start, np.int64),
            }
        )
        name = f"{start}-{end}"
        return Competitors(name, f"shard-{start % self.shards}", start, name, table)

    def due(self, threshold: float) -> dict[str, str]:
        """Finds by brute force which go, and what stays in their place."""
        with np.errstate(invalid="ignore"):
            near = np.nan_to_num(cosines(self.vectors), nan=-2) >= threshold
        rows = np.arange(len(self.vectors))
        near[: self.of_other, : self.of_other] = False
        order = np.lexsort((rows, -self.areas, rows >= self.of_other))
        gone = kept_by_brute_force(near, order, np.ones(len(rows), bool))
        return {f"{row:05d}": f"{of:05d}" for row, of in gone.items()}


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, str]]:
    """Runs a whole comparison, its tasks in some order; gives what goes, and of what it is a duplicate."""
    monkeypatch.setattr(semantic_join, "_BLOCK", 120)
    monkeypatch.setattr(deduplicating, "embeddings_digest", lambda part: f"digest of {part}")

    def run(data: Data, threshold: float, output: Path = tmp_path / "out", order: int = 0) -> dict[str, str]:
        def read(part: str) -> StoredEmbeddings:
            return StoredEmbeddings(data.part(part), np.zeros((0, 1), np.float16), np.zeros(0, np.int64))

        monkeypatch.setattr(stored_vectors, "read_embeddings", read)
        sets, place, shuffle = data.sets(), str(output), random.Random(order).shuffle
        settings = DuplicateSettings(["semantic"], cosine=threshold, against=["other"] * (len(sets) - 1))
        every = [one for ranges in sets for one in ranges]
        ids = {one.range: known or read_ids(one.part, len(one.table)) for one, known in known_ids(place, every)}
        tasks = list(plan_semantic_join(place, settings, all_samples(sets, settings), ids))
        shuffle(tasks)
        workers = [Assigned(), Assigned()]
        blocks = [sort_block(task, workers[index % 2]) for index, task in enumerate(tasks)]
        shuffle(blocks)
        cells = list(group_cells(blocks))
        shuffle(cells)
        drops = find_duplicates(place, settings, all_samples(sets, settings), ids, list(map(compare_cells, cells)))
        return {
            f"{int(name.split('-')[0]) + row:05d}": of
            for name, found in drops.items()
            for row, of in zip(found.rows.tolist(), found.of, strict=True)
        }

    return run


def files_in(output: Path) -> dict[str, bytes]:
    return {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*.parquet")}


@pytest.mark.parametrize(
    ("of_other", "threshold"),
    [
        (333, 0.97),
        *(
            pytest.param(of_other, threshold, marks=pytest.mark.slow)
            for of_other in (0, 333)
            for threshold in (1.0, 0.97, 0.8, -1.0)
            if (of_other, threshold) != (333, 0.97)
        ),
    ],
)
def test_what_goes_is_what_brute_force_says(job, threshold: float, of_other: int, monkeypatch) -> None:
    monkeypatch.setattr(semantic, "cells_for", lambda *_: 40)
    vectors = planted(1000, 32, seed=3)
    vectors[[5, 700]], vectors[[6, 701]], vectors[702] = 0, np.nan, np.inf
    data = Data(vectors, of_other)
    assert job(data, threshold) == data.due(threshold) != {}


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_few_rows(job, rows: int) -> None:
    data = Data(np.full((rows, 8), 0.5, np.float16))
    assert job(data, 0.97) == data.due(0.97)
    assert len(data.due(0.97)) == rows // 2


@pytest.mark.parametrize("keep", KEEP_ORDERS)
def test_where_every_key_of_the_order_ties_the_smaller_id_stays(keep: str) -> None:
    ids = ["b", "c", "a", "d"]
    columns = {"area": 1, "bytes": 1, "aesthetic": 5.0, "similarity": 0.3, "place": 0, "set": 0}
    table = pa.table({"sample_id": ids, **{name: [value] * 4 for name, value in columns.items()}})
    order = best_first(table, keep)
    assert [ids[row] for row in order] == sorted(ids)
    relation = Relation("exact", np.zeros(4, np.int32), no_edges(1), NothingElse(), np.nan)
    drops = keep_one(order, np.ones(4, bool), np.zeros(4, bool), [relation])
    assert [(ids[row], ids[of]) for row, of in zip(drops.rows, drops.of, strict=True)] == [
        (name, "a") for name in "bcd"
    ]


def test_nothing_that_has_a_direction(job) -> None:
    assert job(Data(np.full((70, 8), np.nan, np.float16)), 0.5) == {}


@pytest.mark.slow
def test_the_same_files_in_whatever_order_work_is_done(job, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(semantic, "cells_for", lambda *_: 30)
    data = Data(planted(900, 32, seed=4))
    found = [job(data, 0.9, tmp_path / str(order), order) for order in range(3)]
    assert found[0] == found[1] == found[2] == data.due(0.9)
    files = [files_in(tmp_path / str(order)) for order in range(3)]
    assert files[0] == files[1] == files[2]
    assert sorted({Path(name).name for name in files[0]}) == ["classes.parquet", "pairs.parquet", "rows.parquet"]


def test_what_a_job_left_that_died_as_it_removed_it_is_removed(job, tmp_path: Path, monkeypatch) -> None:
    data = Data(planted(200, 16, seed=13))

    def dies(store: EdgeStore, names) -> None:
        if list(names):
            raise CurationError("the machine is gone")

    with monkeypatch.context() as dead:
        dead.setattr(EdgeStore, "_delete", dies)
        with pytest.raises(CurationError, match="gone"):
            job(data, 0.9)
    assert any("block-" in name for name in files_in(tmp_path / "out"))
    assert job(data, 0.9) == data.due(0.9)
    names = {Path(name).name for name in files_in(tmp_path / "out")}
    assert names == {"classes.parquet", "pairs.parquet", "rows.parquet"}


@pytest.mark.slow
def test_what_is_done_is_not_done_again(job, tmp_path: Path, monkeypatch) -> None:
    """Of a join that dies again and again, at every step. A group has one cell here: one that dies is done again."""
    monkeypatch.setattr(semantic_join, "_GROUPS", 1 << 16)
    monkeypatch.setattr(semantic, "cells_for", lambda *_: 12)
    monkeypatch.setattr(semantic_join, "share_of_cores", lambda: 1)
    data, output = Data(planted(900, 32, seed=5)), tmp_path / "killed"
    done: list[str] = []

    def dying(module, name: str) -> None:
        whole = getattr(module, name)

        def dies(*given, **named):
            if fuel[0] == 0:
                raise CurationError("the machine is gone")
            fuel[0] -= 1
            done.append(name)
            return whole(*given, **named)

        monkeypatch.setattr(module, name, dies)

    fuel = [0]
    for module, name in ((semantic_join, "centres_for"), (semantic_join, "write_block"), (semantic, "_of_cell")):
        dying(module, name)
    deaths = 0
    while True:
        fuel[0] = 3
        try:
            found = job(data, 0.9, output, deaths)
            break
        except CurationError:
            deaths += 1
    assert deaths >= 5
    assert found == data.due(0.9)
    assert (done.count("centres_for"), done.count("write_block")) == (1, 900 // 150)
    cells = done.count("_of_cell")
    done.clear()
    fuel[0] = 100
    job(data, 0.9, tmp_path / "at_once")
    assert cells == done.count("_of_cell")
    assert files_in(output) == files_in(tmp_path / "at_once")


@pytest.mark.slow
def test_vectors_that_would_be_guests_of_very_many_cells_are_put_into_fewer(job, tmp_path: Path, monkeypatch) -> None:
    """Each guest takes room on the disk. Without the bound these are in 6 cells, on average."""
    for module in (semantic, semantic_join):
        monkeypatch.setattr(module, "cells_for", lambda *_: 256)
    monkeypatch.setattr(semantic_join, "_MOST_VISITS", 2)
    written: list[int] = []
    write = semantic_join.write_block

    def counted(output, name, members, *more) -> None:
        written.append(len(members))
        write(output, name, members, *more)

    monkeypatch.setattr(semantic_join, "write_block", counted)
    data = Data(planted(1000, 48, seed=10))
    assert job(data, 0.9) == data.due(0.9)
    assert 1000 < sum(written) < 1000 * (1 + 2)


@pytest.mark.parametrize("damaged", ["block", "piece", "centres"])
def test_what_is_damaged_of_a_join_that_goes_on_is_made_anew(job, damaged: str, tmp_path: Path, monkeypatch) -> None:
    data, output = Data(planted(600, 32, seed=6)), tmp_path / "damaged"
    with monkeypatch.context() as dead:
        dead.setattr(deduplicating, "_pieces", lambda place, names: (_ for _ in ()).throw(CurationError("gone")))
        with pytest.raises(CurationError, match="gone"):
            job(data, 0.9, output)
    paths = sorted(output.rglob(f"{damaged}*.parquet"))
    assert paths
    for path in paths[::2]:
        path.write_bytes(path.read_bytes()[:-50])
    assert job(data, 0.9, output) == data.due(0.9)


def test_blocks_are_of_the_vectors_that_are_in_them_now(job, monkeypatch) -> None:
    """Of a join that was killed, where the best of equal ones stands elsewhere in the input since."""
    vectors, write, written = planted(900, 32, seed=11), semantic_join.write_block, []

    def dies(*given) -> None:
        if len(written) == 3:
            raise CurationError("the machine is gone")
        written.append(given[1])
        write(*given)

    with monkeypatch.context() as dead:
        dead.setattr(semantic_join, "write_block", dies)
        with pytest.raises(CurationError, match="gone"):
            job(Data(vectors), 0.9)
    data = Data(vectors, shards=7)
    assert job(data, 0.9) == data.due(0.9)


def test_a_piece_that_goes_while_others_work_is_told(job, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(EdgeStore, "pieces", lambda *given: _Nothing())
    with pytest.raises(JobError, match=r"piece-.* is gone, or damaged, while duplicates are compared: run the same"):
        job(Data(planted(200, 16, seed=7)), 0.9)


def test_a_block_that_is_not_as_it_was_told_is_told(job, monkeypatch) -> None:
    """Such as one that a worker wrote late whose processor made one more guest."""
    monkeypatch.setattr(semantic, "cells_for", lambda *_: 12)
    read = semantic_join.read_rows

    def late(path: str, start: int, end: int) -> object:
        return read(path, start - (start > 0), end - (start > 0))

    monkeypatch.setattr(semantic_join, "read_rows", late)
    with pytest.raises(JobError, match=r"block-.* was written anew while duplicates are compared: run the same"):
        job(Data(planted(900, 32, seed=14)), 0.9)


def test_pieces_of_other_groups_of_cells_are_not_taken(job, monkeypatch) -> None:
    """Such as those of a release that made groups otherwise, with the same centres."""
    monkeypatch.setattr(semantic, "cells_for", lambda *_: 12)
    data = Data(planted(900, 32, seed=5))
    with monkeypatch.context() as dead:
        dead.setattr(deduplicating, "_pieces", lambda place, names: (_ for _ in ()).throw(CurationError("gone")))
        with pytest.raises(CurationError, match="gone"):
            job(data, 0.9)
    monkeypatch.setattr(semantic_join, "_GROUPS", 2)
    assert job(data, 0.9) == data.due(0.9)


def test_centres_that_are_written_anew_while_others_work_are_told() -> None:
    """By a worker that was taken for dead: there may be another number of them."""
    place = JoinPlace("out", "0" * 16, 9, semantic.Join(0.9))
    counts = [BlockCounts(index, "0" * 16, *np.ones((2, cells), np.int64)) for index, cells in enumerate((3, 4))]
    with pytest.raises(JobError, match=r"centres.parquet was written anew while duplicates are compared: run the same"):
        list(group_cells([(place, "1" * 8, counts[0]), (place, "2" * 8, counts[1])]))


def test_cells_of_a_billion_vectors_are_in_groups_that_a_worker_can_hold() -> None:
    """Work times groups is above 2**63 there."""
    place, blocks, cells = JoinPlace("out", "0" * 16, 10**9, semantic.Join(0.9)), 64, 4096
    of_block = np.full(cells, 10**9 // cells // blocks), np.full(cells, 2 * 10**9 // cells // blocks)
    counts = [BlockCounts(index, "0" * 16, *of_block) for index in range(blocks)]
    tasks = list(group_cells((place, "1" * 8, one) for one in counts))
    assert [task.first for task in tasks] == list(range(cells))  # one alone is more than a group should have
    assert all((task.runs[:, 2] - task.runs[:, 1]).sum() == blocks * sum(of_block)[0] for task in tasks)


def test_edges_that_go_while_others_work_are_told(job, tmp_path: Path, monkeypatch) -> None:
    """After it was found that nothing is left to compare: nothing is not kept as all that there is."""
    data, read, times = Data(planted(200, 16, seed=12)), EdgeStore.read, []
    assert job(data, 0.9) == data.due(0.9)
    whole = files_in(tmp_path / "out")

    def goes(store: EdgeStore) -> object:
        times.append(store)
        return read(store) if len(times) < 3 else None

    monkeypatch.setattr(EdgeStore, "read", goes)
    with pytest.raises(JobError, match=r"are gone, or damaged, while duplicates of .* are compared: run the same"):
        job(data, 0.9)
    assert files_in(tmp_path / "out") == whole


class _Nothing:
    def recall(self, name: str) -> None:
        return None

    def keep(self, name: str, edges: object) -> None:
        pass


def test_embeddings_of_another_encoder_are_told(job, monkeypatch) -> None:
    data = Data(planted(200, 16, seed=8))
    part = data.part
    data.part = lambda name: part(name)[:, : 8 if name == "150-200" else 16]  # type: ignore[method-assign]
    with pytest.raises(JobError, match=r"has embeddings \[50, \d+\], others of \d+ numbers"):
        job(data, 0.9)


def test_edges_say_what_they_are(job, tmp_path: Path) -> None:
    """Whoever removes an output knows its files by their content."""
    job(Data(planted(200, 16, seed=9)), 0.9)
    for path in (tmp_path / "out").rglob("*.parquet"):
        assert json.loads(pq.read_schema(path).metadata[b"beam_curator_edges"])["version"] == VERSIONS["semantic"]
