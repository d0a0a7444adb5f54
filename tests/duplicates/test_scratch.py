"""Arrays that are laid aside in temporary files."""

import errno
import os
import tempfile

import numpy as np
import pytest

from beam_curator.duplicates import scratch
from beam_curator.duplicates.scratch import laid_aside
from beam_curator.duplicates.semantic import Compared, Join, semantic_edges
from beam_curator.duplicates.vectors import ids_of
from beam_curator.errors import JobError
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


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(tempfile.SpooledTemporaryFile):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", Full)
    with pytest.raises(JobError, match=r"No space left on device.*set TMPDIR"):
        laid_aside([np.zeros(3)], np.float64)
