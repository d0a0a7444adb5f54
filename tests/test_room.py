"""Room is made ahead where the system can, is given back where it is not needed, and changes no byte."""

import errno
import os

import pytest

from beam_curator import files, room
from beam_curator.room import room_for

PIECE = b"x" * 10_000


def allocated(path):
    return path.stat().st_blocks * 512


def has_room(directory):
    """Whether this file system makes room ahead."""
    with (directory / "probe").open("wb") as file, room_for(file.fileno(), 1 << 20):
        return os.fstat(file.fileno()).st_blocks > 0


def test_a_file_has_its_room_before_it_is_written_and_no_more_of_it_than_it_needs(tmp_path):
    if not has_room(tmp_path):
        pytest.skip("this file system makes no room ahead")
    path = tmp_path / "file"
    with path.open("wb") as file:
        with room_for(file.fileno(), 1 << 20):
            assert allocated(path) >= 1 << 20
            assert path.stat().st_size == 0
            file.write(PIECE)
            file.flush()
            os.fsync(file.fileno())
        assert len(PIECE) <= allocated(path) < 1 << 18
    assert path.read_bytes() == PIECE


@pytest.mark.parametrize("expected_bytes", [1, 5000, 10_000, 1 << 20])
def test_whatever_was_expected_the_file_is_what_was_written(tmp_path, expected_bytes):
    with files.atomic_writer(str(tmp_path), "a.tar", expected_bytes) as file:
        file.writelines([PIECE])
        file.write(PIECE)
    assert (tmp_path / "a.tar").read_bytes() == 2 * PIECE


@pytest.mark.parametrize("why", [errno.ENOSPC, errno.EOPNOTSUPP])
def test_a_system_that_makes_no_room_changes_nothing(tmp_path, monkeypatch, why):
    class Library:
        @staticmethod
        def fallocate(*_):
            return why

    monkeypatch.setattr(room.ctypes, "CDLL", lambda name: Library)
    with files.atomic_writer(str(tmp_path), "a.tar", 1 << 20) as file:
        file.writelines([PIECE])
    assert (tmp_path / "a.tar").read_bytes() == PIECE


def test_a_system_without_such_a_call_is_not_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(room.ctypes, "CDLL", lambda name: object())
    monkeypatch.setattr(room.os, "ftruncate", lambda *_: pytest.fail("there is no room to give back"))
    with files.atomic_writer(str(tmp_path), "a.tar", 1 << 20) as file:
        file.writelines([PIECE])
    assert (tmp_path / "a.tar").read_bytes() == PIECE
