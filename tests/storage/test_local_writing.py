"""Many pieces are written as they are, one after the other, in few calls of the system."""

import errno
import io
import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_curator.errors import StorageError
from beam_curator.storage import files, local_writing
from beam_curator.storage.local_writing import SMALL_BYTES, write_all
from tests.examples import examples

NOISE = memoryview(random.Random(2).randbytes(3 * SMALL_BYTES))
SIZES = st.sampled_from([0, 1, 100, SMALL_BYTES - 1, SMALL_BYTES, 3 * SMALL_BYTES])


class Calls:
    """The system's calls, which are counted, and take only so many bytes of each."""

    def __init__(self, monkeypatch, takes_bytes=1 << 40):
        self.pieces = []
        writev, write = os.writev, os.write

        def some_of(descriptor, pieces):
            self.pieces.append(len(pieces))
            data = b"".join(pieces)
            return write(descriptor, data[:takes_bytes]) if len(data) > takes_bytes else writev(descriptor, pieces)

        monkeypatch.setattr(local_writing.os, "writev", some_of)


def pieces_of(sizes):
    return [NOISE[:size] for size in sizes]


@examples(100)
@given(st.lists(SIZES, max_size=8), st.sampled_from([7001, SMALL_BYTES, 1 << 40]))
def test_pieces_arrive_in_order_however_little_the_system_takes_at_once(tmp_path_factory, sizes, takes_bytes):
    path = tmp_path_factory.mktemp("gathering") / "file"
    with pytest.MonkeyPatch.context() as patched:
        Calls(patched, takes_bytes)
        with path.open("wb") as file:
            file.write(b"before")
            write_all(file, iter(pieces_of(sizes)))
            file.write(b"after")
    assert path.read_bytes() == b"before" + b"".join(pieces_of(sizes)) + b"after"


def test_a_file_that_is_not_the_systems_gets_the_same_bytes():
    file = io.BytesIO()
    write_all(file, pieces_of([5, SMALL_BYTES, 7, 8]))
    assert file.getvalue() == b"".join(pieces_of([5, SMALL_BYTES, 7, 8]))


def test_small_pieces_go_together_and_large_ones_as_they_are_in_one_call(tmp_path, monkeypatch):
    calls = Calls(monkeypatch)
    with (tmp_path / "file").open("wb") as file:
        write_all(file, pieces_of([10] * 5000 + [SMALL_BYTES] * 4 + [10] * 5000))
    assert calls.pieces == [1 + 4 + 1]


def test_more_pieces_than_the_system_takes_are_several_calls(tmp_path, monkeypatch):
    calls = Calls(monkeypatch)
    sizes = [SMALL_BYTES] * 1500
    with (tmp_path / "file").open("wb") as file:
        write_all(file, pieces_of(sizes))
    assert sum(calls.pieces) == 1500
    assert max(calls.pieces) <= os.sysconf("SC_IOV_MAX")
    assert (tmp_path / "file").stat().st_size == sum(sizes)


def test_a_full_disk_is_one_line_that_names_the_file(tmp_path, monkeypatch):
    def full(descriptor, pieces):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(local_writing.os, "writev", full)
    with (
        pytest.raises(StorageError, match=r"cannot write .*a\.tar: the disk is full"),
        files.atomic_writer(str(tmp_path), "a.tar") as file,
    ):
        file.writelines([b"some"])
    assert not (tmp_path / "a.tar").exists()
