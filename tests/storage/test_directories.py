"""What directories hold, whatever they are called."""

import os

import pytest

from beam_curator.errors import StorageError
from beam_curator.storage import directories


@pytest.mark.parametrize("name", ["out", "out[1]", "o*t"])
def test_the_files_of_a_directory_are_listed_in_order_and_those_below_or_beside_are_not(tmp_path, name):
    for file in (f"{name}/b.tar", f"{name}/a.tar", f"{name}/c.txt", f"{name}/below/d.tar", "oat/e.tar"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    listed = directories.list_files(str(tmp_path / name), "*.tar")
    assert [os.path.relpath(found.path, tmp_path) for found in listed] == [f"{name}/a.tar", f"{name}/b.tar"]
    assert directories.list_files(str(tmp_path / "absent")) == []


@pytest.mark.parametrize("name", ["out", "[x]", "o?t", "*"])
def test_a_relative_directory_is_listed_whatever_its_name(tmp_path, monkeypatch, name):
    (tmp_path / name / "below").mkdir(parents=True)
    (tmp_path / name / "below" / "a.tar").write_bytes(b"abc")
    monkeypatch.chdir(tmp_path)
    assert [found.path for found in directories.list_files(f"{name}/below", "*.tar")] == [f"{name}/below/a.tar"]
    assert [found.path for found in directories.list_files(name, "*/*.tar")] == [f"{name}/below/a.tar"]
    assert [found.size_in_bytes for found in directories.list_files(name, "**")] == [3]
    assert directories.list_files(name, "*.tar") == directories.list_files(f"{name}/below/a.tar") == []


def test_a_directory_that_may_not_be_looked_into_is_not_an_empty_one(tmp_path, monkeypatch):
    def scandir(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(directories.os, "scandir", scandir)  # tests may run as root, who may look into all
    with pytest.raises(StorageError, match=rf"^cannot list {tmp_path}: Permission denied$"):
        directories.list_files(str(tmp_path), "*.tar")
