"""Shards are told by their content and their place: not by times of change, nor by how a path is spelled."""

import os
import pathlib
import shutil

import pytest
from apache_beam.io.filesystem import FileMetadata

from beam_curator.sources.shard_identity import (
    PIECE_BYTES,
    WHOLE_BYTES,
    KnownShard,
    generation_of,
    has_changed_unnoticed,
    identify,
    labelled,
    place_of,
    with_known_urls,
)
from beam_curator.storage.buckets.bucket import ObjectMetadata


def metadata(path):
    status = pathlib.Path(path).stat()
    return FileMetadata(str(path), status.st_size, status.st_mtime)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "raw" / "a.tar"
    path.parent.mkdir()
    path.write_bytes(b"content of a shard" * 100)
    return path


def patch(path, offset, data):
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def test_a_touch_and_a_copy_are_the_same_content_and_another_byte_is_not(file, tmp_path):
    before = generation_of(metadata(file))
    os.utime(file, (1, 1))
    assert generation_of(metadata(file)) == before
    assert generation_of(metadata(shutil.copy(file, tmp_path / "b.tar"))) == before
    patch(file, 900, b"X")
    os.utime(file, (1, 1))
    assert generation_of(metadata(file)) != before


def test_a_large_file_is_told_by_its_size_its_ends_and_pieces_between(tmp_path):
    path = tmp_path / "large.tar"
    path.write_bytes(bytes(WHOLE_BYTES + (1 << 20)))
    size = path.stat().st_size
    seen = {generation_of(metadata(path))}
    for offset in (0, PIECE_BYTES - 1, size - 1, (size - PIECE_BYTES) * 7 // 31):
        patch(path, offset, b"X")
        seen.add(generation_of(metadata(path)))
    with path.open("ab") as file:
        file.write(b"\0")
    seen.add(generation_of(metadata(path)))
    assert len(seen) == 6


def test_a_change_between_the_pieces_is_not_seen_before_copying_tells_it(tmp_path):
    path = tmp_path / "large.tar"
    path.write_bytes(bytes(WHOLE_BYTES + (1 << 20)))
    (found,) = identify([metadata(path)])
    patch(path, PIECE_BYTES + 10, b"X")
    assert has_changed_unnoticed(found.shard)
    patch(path, 0, b"X")
    assert not has_changed_unnoticed(found.shard)


def test_buckets_say_themselves_what_an_object_holds_and_elsewhere_it_is_the_time():
    assert generation_of(ObjectMetadata("gs://b/a.tar", 5, 17.0, "crc32c:abc")) == "crc32c:abc"
    assert generation_of(FileMetadata("hdfs://b/a.tar", 5, 17.5)) == "17.500000"


def test_one_file_under_several_names_is_one_shard(file, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(file.parent)
    monkeypatch.chdir(tmp_path)
    spelled = ["raw/a.tar", "./raw/a.tar", str(file), "link/a.tar", "raw/../raw/a.tar"]
    (one,) = identify([metadata(path) for path in spelled])
    assert one.place == str(file.resolve())
    for path in spelled:
        assert place_of(path) == one.place
        (same,) = identify([metadata(path)], [one])
        assert (same.url, same.shard.path, same.shard) == (one.url, path, one.shard)


def known(url, content="1", place=None):
    return KnownShard(url, 9, content, place or f"/data/{url}", url)


def urls(found, before):
    return {one.path: one.url for one in with_known_urls(found, before)}


def test_a_shard_is_known_by_its_place_then_by_its_url_then_by_its_name_and_content():
    before = [known("raw/a.tar"), known("raw/b.tar"), known("raw/c.tar", "3"), known("raw/d.tar")]
    found = [
        known("/data/raw/a.tar", "changed", "/data/raw/a.tar"),
        known("raw/b.tar", "changed", "/elsewhere/raw/b.tar"),
        known("moved/c.tar", "3", "/moved/c.tar"),
        known("moved/d.tar", "changed", "/moved/d.tar"),
    ]
    assert urls(found, before) == {
        "/data/raw/a.tar": "raw/a.tar",
        "raw/b.tar": "raw/b.tar",
        "moved/c.tar": "raw/c.tar",
        "moved/d.tar": "moved/d.tar",
    }


def test_a_copy_beside_what_is_known_is_another_shard():
    assert urls([known("raw/a.tar"), known("copy/a.tar")], [known("raw/a.tar")]) == {
        "raw/a.tar": "raw/a.tar",
        "copy/a.tar": "copy/a.tar",
    }


def test_no_two_shards_get_one_url():
    found = [known("raw/a.tar", "1", "/one/raw/a.tar"), known("./a.tar", "1", "/data/raw/a.tar")]
    assert urls(found, [known("raw/a.tar")]) == {"./a.tar": "raw/a.tar", "raw/a.tar": "/one/raw/a.tar"}


def test_a_content_that_is_not_known_is_like_no_other():
    assert urls([known("moved/a.tar", "", "/m/a.tar")], [known("raw/a.tar", "")]) == {"moved/a.tar": "moved/a.tar"}


def labels(urls, before=()):
    return {one.url: one.label for one in labelled([known(url) for url in urls], before)}


def test_a_label_is_the_file_name_or_as_much_of_the_url_as_tells_shards_of_one_name_apart():
    assert labels(["/data/raw/0.tar", "/data/raw/1.tar"]) == {"/data/raw/0.tar": "0.tar", "/data/raw/1.tar": "1.tar"}
    several = labels(["gs://b/x/a/0.tar", "gs://b/y/a/0.tar", "gs://b/y/c/0.tar", "gs://b/y/c/1.tar"])
    assert [*several.values()] == ["x/a/0.tar", "y/a/0.tar", "c/0.tar", "1.tar"]
    assert len({*labels(["0.tar", "a/0.tar", "b/a/0.tar"]).values()}) == 3


def test_a_label_that_was_given_stays_and_is_given_to_no_other():
    (first,) = labelled([known("a/0.tar")])
    assert labels(["a/0.tar", "b/0.tar"], [first]) == {"a/0.tar": "0.tar", "b/0.tar": "b/0.tar"}
    assert labels(["0.tar"], [first]) == {"0.tar": "./0.tar"}
