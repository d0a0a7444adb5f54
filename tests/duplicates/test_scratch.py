"""Arrays that are laid aside in temporary files."""

import errno
import os
import tempfile

import numpy as np
import pyarrow as pa
import pytest

from beam_curator.duplicates import scratch
from beam_curator.duplicates.arrow_columns import fixed_width
from beam_curator.duplicates.cells import apart, centres_of, in_drawing_order
from beam_curator.duplicates.competitors import classes_of
from beam_curator.duplicates.keepers import Relation, keep_one
from beam_curator.duplicates.scratch import counted, in_ascending_order, laid_aside
from beam_curator.duplicates.semantic import Compared, Cosines, Join, semantic_edges
from beam_curator.duplicates.vectors import ids_of
from beam_curator.errors import JobError
from beam_curator.output.stored_vectors import ID_TYPE
from tests.duplicates.vector_sets import planted


@pytest.fixture(params=[0, 1 << 20], ids=["in a file", "in memory"])
def most_in_memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(scratch, "_IN_MEMORY_BYTES", request.param)
    return request.param


def is_mapped(array: np.ndarray) -> bool:
    return isinstance(array, np.memmap) or (isinstance(array.base, np.ndarray) and is_mapped(array.base))


def test_pieces_are_one_array_which_may_be_written_to(most_in_memory: int) -> None:
    whole = np.arange(35, dtype=np.int64)[::-1]
    found = laid_aside((whole[start : start + 3] for start in range(0, 35, 3)), np.int64)
    np.testing.assert_array_equal(found, whole)
    assert is_mapped(found) == (most_in_memory == 0)
    found.sort()
    np.testing.assert_array_equal(found, whole[::-1])
    rows = laid_aside([np.ones((2, 3), np.float32), np.zeros((0, 3), np.float32)], np.float32, 3)
    np.testing.assert_array_equal(rows, np.ones((2, 3)))
    assert laid_aside([], np.int64, 4).shape == (0, 4)


def test_numbers_are_counted_piece_by_piece(most_in_memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "_AT_A_TIME", 7)
    for count in (0, 6, 7, 20):
        found = counted(count, np.int32)
        np.testing.assert_array_equal(found, np.arange(count))
        assert found.dtype == np.int32
    assert is_mapped(found) == (most_in_memory == 0)


def test_equal_values_are_in_the_order_of_their_numbers() -> None:
    values = ids_of(np.random.default_rng(2).standard_normal((300, 4)).astype(np.float16))[np.arange(900) % 300]
    values[50:400] = values[0]
    order = np.concatenate(list(in_ascending_order(values)))
    assert order.tolist() == sorted(range(900), key=lambda row: (values[row].tobytes(), row))


@pytest.mark.parametrize("cells", [70, 500], ids=["fewer than vectors", "more than vectors"])
def test_many_centres_lie_in_files(most_in_memory: int, cells: int) -> None:
    sample = planted(400, 32, seed=6).astype(np.float32)
    centres = centres_of(sample, cells)
    assert not np.shares_memory(centres, sample)
    for found in (centres, apart(centres, 0.1)):
        assert is_mapped(found) == (most_in_memory == 0)


@pytest.mark.usefixtures("most_in_memory")
def test_a_join_in_files_finds_what_it_finds_in_memory() -> None:
    vectors = planted(600, 32, seed=3)
    no = np.zeros(600, bool)
    compared = Compared(lambda ranks: vectors[ranks], no, no, ids_of(vectors))
    whole = semantic_edges(compared, Join(0.9, cells=1, neighbours=600))
    assert len(whole.first) > 100
    found = semantic_edges(compared, Join(0.9, cells=30, threads=2, neighbours=600))
    for name in ("first", "second", "distance"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))


@pytest.mark.parametrize("neighbours", [2, None], ids=["some pairs are listed", "all pairs are listed"])
def test_classes_and_keepers_are_the_same_piece_by_piece(monkeypatch: pytest.MonkeyPatch, neighbours: int) -> None:
    random = np.random.default_rng(5)
    distinct = planted(200, 32, seed=4)
    vectors = distinct[random.integers(0, 200, 300)]
    order = random.permutation(300)
    groups = random.integers(0, 2, 300)
    competes = random.random(300) < 0.9
    there = (random.random(300) < 0.9).tolist()
    names = pa.array([id.tobytes() if yes else None for id, yes in zip(ids_of(vectors), there, strict=True)], ID_TYPE)

    def found() -> list[np.ndarray]:
        classes = classes_of(order, pa.chunked_array([names[:100], names[100:]]))
        assert classes.ids.equals(names.take(pa.array(classes.row)))
        no = np.zeros(len(classes), bool)
        of_class = vectors[classes.row]
        compared = Compared(lambda ones: of_class[ones], no, no, fixed_width(classes.ids))
        join = Join(0.9, neighbours=neighbours)
        edges = semantic_edges(compared, join)
        assert len(edges.first)
        assert bool(len(edges.cut)) == (neighbours is not None)
        relation = Relation("semantic", classes.of_samples, edges, Cosines(compared.vectors, join), 1.0)
        drops = keep_one(order, competes, np.zeros(300, bool), [relation], groups)
        assert len(drops.rows) > 20
        drawn = in_drawing_order(compared.ids, 1, 50)
        return [classes.of_samples, classes.row, drops.rows, drops.of, drops.distance, drawn]

    whole = found()
    monkeypatch.setattr(scratch, "_AT_A_TIME", 7)
    monkeypatch.setattr(scratch, "_IN_MEMORY_BYTES", 0)
    for one, other in zip(found(), whole, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(tempfile.SpooledTemporaryFile):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", Full)
    with pytest.raises(JobError, match=r"No space left on device.*set TMPDIR"):
        laid_aside([np.zeros(3)], np.float64)
