"""Embeddings of score parts, looked up from a local file."""

import errno
import pathlib
import threading

import numpy as np
import pytest

from beam_curator.errors import JobError, StorageError
from beam_curator.output import stored_vectors
from beam_curator.output.part_contents import StoredEmbeddings
from beam_curator.output.stored_vectors import StoredVectors


@pytest.fixture
def parts(monkeypatch):
    """Parts by their names, which are read as these embeddings; and the names that were read."""
    embeddings = {"a": np.eye(4, dtype=np.float16)[:2], "b": np.zeros((0, 4)), "c": np.eye(4, dtype=np.float16)[2:]}
    read = []

    def read_embeddings(part):
        read.append(part)
        return StoredEmbeddings(embeddings[part].astype(np.float16), np.zeros((0, 4)), np.zeros(0))

    monkeypatch.setattr(stored_vectors, "read_embeddings", read_embeddings)
    return embeddings, read


def test_a_part_is_read_when_it_is_asked_for_and_once(parts, tmp_path):
    vectors = StoredVectors(["a", "b", "c"], [2, 0, 2], tmp_path)
    np.testing.assert_array_equal(vectors.of_rows(np.array([3, 2])), np.eye(4)[[3, 2]])
    assert parts[1] == ["c"]
    np.testing.assert_array_equal(vectors.of_rows(np.array([0, 3, 0])), np.eye(4)[[0, 3, 0]])
    assert parts[1] == ["c", "a"]


def test_ids_are_null_where_there_is_no_direction(parts, tmp_path):
    parts[0]["a"] = np.array([[0, 0, 0, 0], [0, 1, 0, 0]])
    vectors = StoredVectors(["a", "b", "c"], [2, 0, 2], tmp_path)
    assert vectors.ids_of_part(0).is_valid().to_pylist() == [False, True]
    assert len(vectors.ids_of_part(1)) == 0
    parts[0]["c"] = np.zeros((2, 4))
    assert vectors.ids_of_part(2).null_count == 2


def test_other_encoders_embeddings_are_told(parts, tmp_path):
    parts[0]["c"] = np.eye(3)[:2]
    vectors = StoredVectors(["a", "c"], [2, 2], tmp_path)
    with pytest.raises(JobError, match=r"c has embeddings \[2, 3\], others of 4 numbers"):
        vectors.of_rows(np.array([0, 3]))


def test_a_part_that_is_no_longer_the_ledgers_is_told(parts, tmp_path):
    with pytest.raises(JobError, match="a has 2 embeddings, its ledger 3 samples: the job that wrote them has gone on"):
        StoredVectors(["a"], [3], tmp_path).of_rows(np.array([0]))


def test_a_full_disk_is_one_line(parts, tmp_path, monkeypatch):
    opened = pathlib.Path.open

    def full(path, mode="r", **more):
        if mode == "r+b":
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(path, mode, **more)

    monkeypatch.setattr(pathlib.Path, "open", full)
    with pytest.raises(JobError, match=r"No space left on device\); they take 16 B: set TMPDIR to a directory"):
        StoredVectors(["a"], [2], tmp_path).of_rows(np.array([0]))


def test_others_wait_for_a_part_that_is_being_read(parts, tmp_path, monkeypatch):
    """And are not given the zeros that stand in its place until it is written."""
    read, given = stored_vectors.read_embeddings, []
    vectors = StoredVectors(["a"], [2], tmp_path)
    other = threading.Thread(target=lambda: given.append(vectors.of_rows(np.array([1]))))

    def slowly(part):
        other.start()
        other.join(0.2)
        return read(part)

    monkeypatch.setattr(stored_vectors, "read_embeddings", slowly)
    vectors.of_rows(np.array([0]))
    other.join()
    np.testing.assert_array_equal(given[0], np.eye(4)[[1]])


def test_a_part_that_could_not_be_read_is_not_taken_for_zeros(parts, tmp_path, monkeypatch):
    def fails(part):
        raise StorageError(f"{part} cannot be read")

    vectors = StoredVectors(["c", "a"], [2, 2], tmp_path)
    vectors.of_rows(np.array([0]))
    with monkeypatch.context() as broken:
        broken.setattr(stored_vectors, "read_embeddings", fails)
        with pytest.raises(StorageError):
            vectors.of_rows(np.array([2]))
    np.testing.assert_array_equal(vectors.of_rows(np.array([2])), np.eye(4)[[0]])
