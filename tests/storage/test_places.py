"""Whether a file lies in a directory, on any spelling."""

import pytest

from beam_curator.storage.places import below, real


@pytest.fixture
def data(tmp_path, monkeypatch):
    """out/, raw/ with a shard, and links to both."""
    for name in ("out", "raw"):
        (tmp_path / name).mkdir()
    (tmp_path / "raw" / "a.tar").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "raw")
    (tmp_path / "out" / "a.tar").symlink_to(tmp_path / "raw" / "a.tar")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "directory", "expected"),
    [
        ("raw/a.tar", "raw", "a.tar"),
        ("{data}/raw/a.tar", "raw/", "a.tar"),
        ("./raw/../raw/a.tar", "{data}/out/../raw", "a.tar"),
        ("link/a.tar", "raw", "a.tar"),
        ("raw/a.tar", "link", "a.tar"),
        ("out/a.tar", "raw", "a.tar"),
        ("out/a.tar", "out", None),
        ("raw/a.tar", ".", "raw/a.tar"),
        ("raw/a.tar", "ra", None),
        ("raw/a.tar", "raw/b", None),
        ("raw/a.tar", "none", None),
        ("gs://b/x/a.tar", "gs://b/x/", "a.tar"),
        ("gs://b/x/a.tar", "gs://b/x", "a.tar"),
        ("gs://b/x/a.tar", "gs://b", "x/a.tar"),
        ("gs://b/xy/a.tar", "gs://b/x", None),
        ("s3://b/x/a.tar", "gs://b/x", None),
        ("raw/a.tar", "gs://b/x", None),
    ],
)
def test_a_file_is_below_a_directory_under_any_of_their_names(data, file, directory, expected):
    assert below(file.format(data=data), directory.format(data=data)) == expected


def test_the_same_place_has_one_text(data):
    assert real("link/") == real("./raw") == str(data / "raw")
    assert real("gs://b/x/") == real("gs://b/x") == "gs://b/x"
