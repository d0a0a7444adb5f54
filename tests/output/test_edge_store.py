"""Edges in an output directory: read as they were written, and made anew where they are not whole."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_curator.duplicates.edges import listed
from beam_curator.errors import StorageError
from beam_curator.output import edge_store
from beam_curator.output.edge_store import EdgeStore, PartIds, StoredEdges, kinds_by_another_rule, remove_unfinished
from beam_curator.storage import files

FINGERPRINT = "0" * 16
FOREIGN = pa.table({"name": ["nothing of ours"]})


@pytest.fixture
def stored():
    edges = listed(3, np.array([0, 1]), np.array([2, 2]), np.array([0.98, 0.99]))
    ids = pa.array([b"a", b"b", b"c"], pa.binary())
    parts = {"one.parquet": PartIds("digest", ids), "none.parquet": PartIds("", ids[:0])}
    return StoredEdges(0.97, 0.5, ids, np.array([True, False, False]), edges, parts)


@pytest.fixture
def store(tmp_path, stored):
    store = EdgeStore(str(tmp_path), "semantic")
    store.write(stored, FINGERPRINT)
    return store


def test_what_is_written_is_read(store, stored):
    found = store.read()
    assert (found.limit, found.slack, found.ids) == (0.97, 0.5, stored.ids)
    assert found.parts["one.parquet"] == stored.parts["one.parquet"]
    np.testing.assert_array_equal(found.base, stored.base)
    for name in ("first", "second", "distance", "cut", "horizon"):
        np.testing.assert_array_equal(getattr(found.edges, name), getattr(stored.edges, name))


def test_edges_of_vectors_stand_where_those_of_hashes_are_compared_anew(store, stored, tmp_path, monkeypatch):
    of_hashes = EdgeStore(str(tmp_path), "perceptual")
    of_hashes.write(stored, FINGERPRINT)
    assert of_hashes.read() is not None
    assert kinds_by_another_rule(str(tmp_path)) == []
    monkeypatch.setitem(edge_store.VERSIONS, "perceptual", edge_store.VERSIONS["perceptual"] + 1)
    assert of_hashes.read() is None
    assert kinds_by_another_rule(str(tmp_path)) == ["perceptual"]
    assert store.read() is not None


def emptied(path):
    path.write_bytes(b"")


def shortened(path):
    path.write_bytes(path.read_bytes()[:-50])


def with_a_bit_changed(path):
    """In the last byte of the first page of the last column."""
    group = pq.read_metadata(path).row_group(0)
    chunk = group.column(group.num_columns - 1)
    begin = chunk.dictionary_page_offset or chunk.data_page_offset
    content = bytearray(path.read_bytes())
    content[begin + chunk.total_compressed_size - 1] ^= 1
    path.write_bytes(content)


def foreign(path):
    pq.write_table(FOREIGN, path)


def foreign_columns(path):
    pq.write_table(FOREIGN.replace_schema_metadata(pq.read_schema(path).metadata), path)


@pytest.mark.parametrize(
    "damage",
    [emptied, shortened, with_a_bit_changed, foreign, foreign_columns, lambda path: path.unlink()],
    ids=range(6),
)
@pytest.mark.parametrize("name", ["classes", "pairs", "rows"])
def test_what_is_damaged_is_made_anew(name, damage, store, stored, tmp_path):
    damage(tmp_path / store.directory(FINGERPRINT) / f"{name}.parquet")
    assert store.read() is None
    store.write(stored, FINGERPRINT)
    assert store.read() is not None


@pytest.mark.parametrize("names", [("1" * 16, "2" * 16), ("2" * 16, "1" * 16)])
def test_edges_that_a_killed_job_left_beside_those_that_replaced_them_are_not_taken(
    names, stored, tmp_path, monkeypatch
):
    store = EdgeStore(str(tmp_path), "semantic")
    fewer = dataclasses.replace(stored, limit=0.99, edges=stored.edges.where(np.array([False, True])))
    monkeypatch.setattr(store, "_delete", lambda names: None)
    for name, one in zip(names, (fewer, stored), strict=True):
        store.write(one, name)
    assert len(list(tmp_path.glob("edges/*/classes.parquet"))) == 2
    assert store.read().limit == 0.97
    monkeypatch.undo()
    store.write(stored, names[1])
    assert len(list(tmp_path.glob("edges/*/classes.parquet"))) == 1


def test_pairs_of_other_classes_are_not_taken(store, tmp_path):
    path = tmp_path / store.directory(FINGERPRINT) / "pairs.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(1, "second", pa.array([2, 3], pa.int32())), path)
    assert store.read() is None


@pytest.mark.parametrize("damage", [emptied, shortened, with_a_bit_changed, foreign], ids=range(4))
def test_a_damaged_piece_is_found_anew(damage, store, stored, tmp_path):
    store.pieces("1" * 16, 3).keep("01234567-00000", stored.edges)
    pieces = store.pieces("1" * 16, 3)
    assert pieces.recall("01234567-00000").distance.tolist() == [0.98, 0.99]
    damage(tmp_path / store.directory("1" * 16) / "piece-01234567-00000.parquet")
    assert pieces.recall("01234567-00000") is None


def test_edges_that_storage_does_not_give_are_not_made_anew(store, stored, monkeypatch):
    pieces = store.pieces("1" * 16, 3)
    pieces.keep("01234567-00000", stored.edges)

    def refuses(url):
        raise StorageError(f"cannot read {url}: permission denied") from PermissionError()

    monkeypatch.setattr(files, "read_bytes", refuses)
    reads = store.read, lambda: store.centres(FINGERPRINT), lambda: pieces.recall("01234567-00000")
    for read, name in zip(reads, ("classes", "centres", "piece-01234567-00000"), strict=True):
        with pytest.raises(StorageError, match=rf"/{name}\.parquet: permission denied"):
            read()


def test_edges_of_which_one_bit_has_changed_are_compared_anew_or_tell_the_same(store, stored, tmp_path):
    (path,) = tmp_path.rglob("classes.parquet")
    content = path.read_bytes()
    told = content.rindex(b'"limit"')
    for place in range(content.index(b'"limit"') - 100, told + 100):
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(changed)
        found = store.read()
        assert found is None or (found.limit, found.slack, found.ids) == (0.97, 0.5, stored.ids), place


def test_what_joins_left_that_did_not_end_is_removed_and_whole_edges_stay(store, stored, tmp_path):
    whole = sorted(tmp_path.rglob("*.parquet"))
    for fingerprint in (FINGERPRINT, "1" * 16):
        store.pieces(fingerprint, 3).keep("01234567-00000", stored.edges)
        store.keep_centres(fingerprint, np.ones((2, 3), np.float32))
    (tmp_path / "edges/mine.parquet").write_bytes(b"of somebody else")
    assert len(list(tmp_path.rglob("*.parquet"))) == len(whole) + 5
    remove_unfinished(str(tmp_path))
    assert sorted(tmp_path.rglob("*.parquet")) == sorted([*whole, tmp_path / "edges/mine.parquet"])
