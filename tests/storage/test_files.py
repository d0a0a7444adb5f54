"""Files: whole or not there, read to their end, retried when it may help."""

import io
import pathlib

import pytest
from apache_beam.io.filesystem import BeamIOError

from beam_curator.errors import StorageError
from beam_curator.storage import files, urls


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
    assert files.read_bytes(urls.join(output, "a.tar")) == b"before"
    files.write_bytes(output, "a.tar", b"after")
    assert files.read_bytes(urls.join(output, "a.tar")) == b"after"


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


def test_deleting_takes_names_as_they_are_and_absent_ones_are_no_error(tmp_path):
    for name in ("a1", "a[1]", "a*"):
        (tmp_path / name).touch()
    files.delete([str(tmp_path / "a[1]"), str(tmp_path / "a*"), str(tmp_path / "gone")])
    assert [path.name for path in tmp_path.iterdir()] == ["a1"]


# reading


def test_bytes_are_read_as_they_stand_whatever_the_name_says(tmp_path):
    (tmp_path / "a.gz").write_bytes(b"not compressed")
    assert files.read_bytes(str(tmp_path / "a.gz")) == b"not compressed"
    with pytest.raises(StorageError, match=r"cannot read .*gone: No such file or directory"):
        files.read_bytes(str(tmp_path / "gone"))


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
