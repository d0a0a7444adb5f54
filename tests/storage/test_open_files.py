"""Reads of open files give all that there is, and ask for no more."""

import io

import pytest

from beam_curator.storage import files, open_files


class ShortReads(io.BytesIO):
    """Gives at most three bytes at once."""

    def read(self, size=-1):
        return super().read(size if size < 0 else min(size, 3))


@pytest.mark.parametrize(
    ("size", "data"), [(0, b""), (2, b"01"), (8, b"01234567"), (99, b"0123456789"), (-1, b"0123456789")]
)
def test_a_short_read_is_followed_by_another_until_all_is_there(size, data):
    assert open_files.read_fully(ShortReads(b"0123456789"), size) == data


@pytest.mark.parametrize(("size", "limit"), [(0, 9), (5, 1 << 30), (40 << 20, 1 << 30), (40 << 20, 33 << 20), (3, 0)])
def test_what_may_be_large_is_not_asked_for_as_if_it_were(tmp_path, size, limit):
    data = bytes(size)
    (tmp_path / "a").write_bytes(data)
    asked = []

    class Noting(io.BytesIO):
        def read(self, size):
            asked.append(size)
            return super().read(size)

    assert open_files.read_at_most(Noting(data), limit) == data[:limit]
    assert sum(asked) <= 3 * size + (16 << 20)
    with files.open_for_reading(str(tmp_path / "a")) as file:
        assert open_files.read_at_most(file, limit) == data[:limit]


def test_a_file_opened_for_reading_gives_what_is_asked_for_wherever_one_seeks(tmp_path, monkeypatch):
    monkeypatch.setattr(files.FileSystems, "open", lambda url, **_: ShortReads(b"0123456789"))
    with files.open_for_reading("a") as file:
        assert (file.seek(2), file.read(5), file.tell(), file.read(), file.read(1)) == (2, b"23456", 7, b"789", b"")
        file.seek(1)
        assert io.BufferedReader(file).peek(8) == b"123456789"
