"""Files: whole or not there, matched as named, retried when it may help."""

import io
import os
import pathlib
import threading

import pytest
from apache_beam.io.filesystem import BeamIOError

from beam_curator.errors import StorageError
from beam_curator.sources import matching
from beam_curator.storage import files
from beam_curator.storage.buckets.bucket import ObjectMetadata


@pytest.fixture
def waits(monkeypatch):
    """The waits between attempts, which tests do not wait for."""
    seconds = []
    monkeypatch.setattr("time.sleep", seconds.append)
    return seconds


def everything(directory):
    return sorted(str(path.relative_to(directory)) for path in pathlib.Path(directory).rglob("*") if path.is_file())


def write_half(directory, error):
    with files.atomic_writer(directory, "a.tar") as file:
        file.write(b"half")
        raise error


# atomic_writer


def test_a_file_appears_when_its_block_ends_and_not_before(tmp_path):
    with files.atomic_writer(str(tmp_path), "scores/a.parquet") as file:
        file.write(b"whole")
        assert not (tmp_path / "scores" / "a.parquet").exists()
    assert (tmp_path / "scores" / "a.parquet").read_bytes() == b"whole"
    assert everything(tmp_path) == ["scores/a.parquet"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_a_block_that_fails_leaves_nothing(tmp_path, error):
    with pytest.raises(error):
        write_half(str(tmp_path), error())
    assert everything(tmp_path) == []


@pytest.mark.parametrize("name", ["out", "out[1]", "out*", "a ? b"])
def test_a_failed_rewrite_leaves_what_stood_there_in_directories_of_any_name(tmp_path, name):
    output = str(tmp_path / name)
    files.write_bytes(output, "a.tar", b"before")
    with pytest.raises(ValueError, match="x"):
        write_half(output, ValueError("x"))
    assert everything(output) == ["a.tar"]
    assert files.read_bytes(files.join(output, "a.tar")) == b"before"
    files.write_bytes(output, "a.tar", b"after")
    assert files.read_bytes(files.join(output, "a.tar")) == b"after"


def test_two_attempts_at_one_file_do_not_meet(tmp_path):
    with files.atomic_writer(str(tmp_path), "a") as first:
        first.write(b"first")
        with files.atomic_writer(str(tmp_path), "a") as second:
            second.write(b"second")
        assert (tmp_path / "a").read_bytes() == b"second"
    assert (tmp_path / "a").read_bytes() == b"first"
    assert everything(tmp_path) == ["a"]


def test_a_failed_rename_leaves_nothing_and_raises(tmp_path, waits):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").touch()
    with pytest.raises((OSError, BeamIOError)):
        files.write_bytes(str(tmp_path), "a", b"x")
    assert everything(tmp_path) == ["a/b"]


def test_temporaries_of_killed_attempts_are_removed_and_nothing_else(tmp_path):
    (tmp_path / files.TEMPORARY).mkdir()
    (tmp_path / files.TEMPORARY / "a.tar.123").write_bytes(b"half")
    (tmp_path / "a.tar").touch()
    files.remove_temporaries(str(tmp_path))
    files.remove_temporaries(str(tmp_path / "absent"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


class _Objects:
    """A bucket of names that counts how many it has told."""

    def __init__(self, names):
        self.names, self.told, self.told_at_first = sorted(names), 0, None
        self._lock = threading.Lock()

    def list(self, prefix, below=True, after=""):
        for name in self.names:
            if name.startswith(prefix) and name >= after:
                self.told += 1
                yield ObjectMetadata(name, 1, 0.0, "")

    def delete(self, urls):
        assert len(urls) <= 1000
        with self._lock:
            self.told_at_first = self.told_at_first or self.told
            self.names = sorted(set(self.names) - set(urls))


def test_many_temporaries_in_a_bucket_are_removed_as_they_are_listed(monkeypatch):
    """Some thousands at once, so that a million do not take hours, and are not all held."""
    temporary = f"gs://b/out/{files.TEMPORARY}"
    others = ["gs://b/out/00000.tar", f"{temporary}/{files.LEASE}"]
    pieces = [f"{temporary}/a-{index:05d}.parquet.{index:032x}" for index in range(20_000)]
    objects = _Objects([*others, *pieces])
    monkeypatch.setattr(files, "bucket_of", lambda url: objects)
    files.remove_temporaries("gs://b/out")
    assert objects.names == others
    assert objects.told_at_first < 11_000


# listing, deleting, matching


@pytest.mark.parametrize("name", ["out", "out[1]", "o*t"])
def test_the_files_of_a_directory_are_listed_in_order_and_those_below_or_beside_are_not(tmp_path, name):
    for file in (f"{name}/b.tar", f"{name}/a.tar", f"{name}/c.txt", f"{name}/below/d.tar", "oat/e.tar"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    listed = files.list_files(str(tmp_path / name), "*.tar")
    assert [os.path.relpath(found.path, tmp_path) for found in listed] == [f"{name}/a.tar", f"{name}/b.tar"]
    assert files.list_files(str(tmp_path / "absent")) == []


@pytest.mark.parametrize("name", ["out", "[x]", "o?t", "*"])
def test_a_relative_directory_is_listed_whatever_its_name(tmp_path, monkeypatch, name):
    (tmp_path / name / "below").mkdir(parents=True)
    (tmp_path / name / "below" / "a.tar").write_bytes(b"abc")
    monkeypatch.chdir(tmp_path)
    assert [found.path for found in files.list_files(f"{name}/below", "*.tar")] == [f"{name}/below/a.tar"]
    assert [found.path for found in files.list_files(name, "*/*.tar")] == [f"{name}/below/a.tar"]
    assert [found.size_in_bytes for found in files.list_files(name, "**")] == [3]
    assert files.list_files(name, "*.tar") == files.list_files(f"{name}/below/a.tar") == []


def test_a_directory_that_may_not_be_looked_into_is_not_an_empty_one(tmp_path, monkeypatch):
    def scandir(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(files.os, "scandir", scandir)  # tests may run as root, who may look into all
    with pytest.raises(StorageError, match=rf"^cannot list {tmp_path}: Permission denied$"):
        files.list_files(str(tmp_path), "*.tar")


def test_deleting_takes_names_as_they_are_and_absent_ones_are_no_error(tmp_path):
    for name in ("a1", "a[1]", "a*"):
        (tmp_path / name).touch()
    files.delete([str(tmp_path / "a[1]"), str(tmp_path / "a*"), str(tmp_path / "gone")])
    assert [path.name for path in tmp_path.iterdir()] == ["a1"]


@pytest.mark.parametrize(
    ("pattern", "expanded"),
    [
        ("raw/{00008..00010}.tar", ["raw/00008.tar", "raw/00009.tar", "raw/00010.tar"]),
        ("gs://b/{train,val}/*.tar", ["gs://b/train/*.tar", "gs://b/val/*.tar"]),
        ("raw/*.tar", ["raw/*.tar"]),
        ("gs://b/raw//", ["gs://b/raw/"]),
    ],
)
def test_brace_ranges_and_directories_are_written_out(pattern, expanded):
    assert matching.expand_patterns([pattern]) == expanded


@pytest.fixture
def raw(tmp_path):
    for name in ("00000.tar", "00001.tar", "00002.tar.gz", "00003.tgz", "a[1].tar", "notes.txt", "below/00004.tar"):
        (tmp_path / "raw[1]" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw[1]" / name).write_bytes(b"12")
    return tmp_path / "raw[1]"


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ([""], ["00000.tar", "00001.tar", "00002.tar.gz", "00003.tgz", "a[1].tar"]),
        (["/"], ["00000.tar", "00001.tar", "00002.tar.gz", "00003.tgz", "a[1].tar"]),
        (["/00001.tar", "/00000.tar", "/00001.tar"], ["00000.tar", "00001.tar"]),
        (["/a[1].tar"], ["a[1].tar"]),
        (["/gone.tar"], []),
    ],
)
def test_what_is_named_is_matched_once_and_in_the_order_of_urls(raw, patterns, names):
    found = matching.match_files([f"{raw}{pattern}" for pattern in patterns])
    assert [os.path.relpath(one.path, raw) for one in found] == names
    assert all(one.size_in_bytes == 2 for one in found)


def test_globs_match_in_one_directory_and_not_below(raw):
    plain = raw.rename(raw.parent / "raw")
    matched = matching.match_files([f"{plain}/0000?.tar", f"{plain}/*.tar.gz", f"{plain}/{{00000..00001}}.tar"])
    assert [pathlib.Path(one.path).name for one in matched] == ["00000.tar", "00001.tar", "00002.tar.gz"]


def test_a_pattern_that_cannot_be_listed_is_one_clear_error():
    with pytest.raises(StorageError, match="cannot list nosuch://bucket/a"):
        matching.match_files(["nosuch://bucket/a*.tar"])


# reading


def test_bytes_are_read_as_they_stand_whatever_the_name_says(tmp_path):
    (tmp_path / "a.gz").write_bytes(b"not compressed")
    assert files.read_bytes(str(tmp_path / "a.gz")) == b"not compressed"
    with pytest.raises(StorageError, match=r"cannot read .*gone: No such file or directory"):
        files.read_bytes(str(tmp_path / "gone"))


class ShortReads(io.BytesIO):
    """Gives at most three bytes at once."""

    def read(self, size=-1):
        return super().read(size if size < 0 else min(size, 3))


@pytest.mark.parametrize(
    ("size", "data"), [(0, b""), (2, b"01"), (8, b"01234567"), (99, b"0123456789"), (-1, b"0123456789")]
)
def test_a_short_read_is_followed_by_another_until_all_is_there(size, data):
    assert files.read_fully(ShortReads(b"0123456789"), size) == data


@pytest.mark.parametrize(("size", "limit"), [(0, 9), (5, 1 << 30), (40 << 20, 1 << 30), (40 << 20, 33 << 20), (3, 0)])
def test_what_may_be_large_is_not_asked_for_as_if_it_were(tmp_path, size, limit):
    data = bytes(size)
    (tmp_path / "a").write_bytes(data)
    asked = []

    class Noting(io.BytesIO):
        def read(self, size):
            asked.append(size)
            return super().read(size)

    assert files.read_at_most(Noting(data), limit) == data[:limit]
    assert sum(asked) <= 3 * size + (16 << 20)
    with files.open_for_reading(str(tmp_path / "a")) as file:
        assert files.read_at_most(file, limit) == data[:limit]


def test_a_file_opened_for_reading_gives_what_is_asked_for_wherever_one_seeks(tmp_path, monkeypatch):
    monkeypatch.setattr(files.FileSystems, "open", lambda url, **_: ShortReads(b"0123456789"))
    with files.open_for_reading("a") as file:
        assert (file.seek(2), file.read(5), file.tell(), file.read(), file.read(1)) == (2, b"23456", 7, b"789", b"")
        file.seek(1)
        assert io.BufferedReader(file).peek(8) == b"123456789"


def test_a_file_that_ends_before_its_size_is_a_fault_unless_it_has_become_shorter(tmp_path, waits, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    with files.open_for_reading(str(path), size_bytes=12) as file:
        assert file.read(12) == b"0123456789"
    monkeypatch.setattr(files.FileSystems, "open", lambda url, **_: io.BytesIO(b"0123"))
    with files.open_for_reading(str(path), size_bytes=10) as file:
        assert file.read(4) == b"0123"
        with pytest.raises(StorageError, match="a: the connection ended at byte 4 of 10"):
            file.read(1)


def test_where_the_client_does_not_see_to_it_the_size_is_asked_for_at_what_may_be_the_end(waits, monkeypatch):
    given = iter([b"", b"0123", b"012345678", b"0123456789"])
    monkeypatch.setattr(files.FileSystems, "open", lambda url, **_: io.BytesIO(next(given)))
    monkeypatch.setattr(files, "_size_of", lambda url: 10)
    assert files.read_bytes("hdfs://host/a") == b"0123456789"
    assert len(waits) == 3
    given = iter([b"0123"] * 5)
    with pytest.raises(StorageError, match="hdfs://host/a: the connection ended at byte 4 of 10"):
        files.read_bytes("hdfs://host/a")


@pytest.mark.parametrize(("url", "remote"), [("gs://b/a", True), ("s3://b", True), ("/a/b", False), ("a:b", False)])
def test_urls_with_a_scheme_are_remote(url, remote):
    assert files.is_remote(url) == remote
