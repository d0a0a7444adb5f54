"""Written tars are tarfile's, byte for byte, in few writes."""

import contextlib
import io
import random
import tarfile
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from beam_curator.tar.writing import WRITE_BYTES, writing_tar

SIZES = st.sampled_from([0, 1, 511, 512, 513, 9000, WRITE_BYTES - 1, WRITE_BYTES, WRITE_BYTES + 5])
NAMES = st.sampled_from(["000000001.jpg", "é.txt", "x" * 130, "000000001.curation.json"])
NOISE = random.Random(1).randbytes(WRITE_BYTES + 5)


class Recording(io.BytesIO):
    def __init__(self):
        super().__init__()
        self.writes = []

    def write(self, data):
        self.writes.append(len(data))
        return super().write(data)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(NAMES, SIZES), max_size=12))
@example([("a.jpg", 9000)] * 1200)
def test_a_tar_is_the_one_that_tarfile_writes(members):
    expected, written = io.BytesIO(), Recording()
    with tarfile.open(fileobj=expected, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for name, size in members:
            info = tarfile.TarInfo(name)
            info.size = size
            tar.addfile(info, io.BytesIO(NOISE[:size]))
    with writing_tar(written) as writer:
        for name, size in members:
            writer.add(name, memoryview(NOISE)[:size])
    assert written.getvalue() == expected.getvalue()
    assert writer.bytes_written == len(expected.getvalue())


def test_small_members_are_gathered_and_large_ones_written_as_they_are():
    written = Recording()
    with writing_tar(written) as writer:
        for index in range(9000):
            writer.add(f"{index}.txt", b"small")
        writer.add("large.jpg", NOISE)
    assert len(written.writes) == 9000 * 1024 // WRITE_BYTES + 1 + 1 + 1
    assert len(NOISE) in written.writes


class Failing(Recording):
    def write(self, data):
        if len(self.writes) == 1:
            raise OSError("no space")
        return super().write(data)


def write_large_members(file, failure=None):
    """Writes eight large members; the names of those that were added."""
    added = []
    with contextlib.suppress(OSError), writing_tar(file) as writer:
        for index in range(8):
            added.append(f"{index}.jpg")
            writer.add(added[-1], NOISE)
        if failure:
            raise failure
    return added


def test_a_write_that_fails_behind_fails_the_tar():
    assert len(write_large_members(Failing())) < 4
    with pytest.raises(OSError, match="no space"), writing_tar(Failing()) as writer:
        writer.add("first.jpg", NOISE)


def test_nothing_is_written_once_the_block_has_ended():
    written = Recording()
    write_large_members(written, OSError("what makes the members fails"))
    before = len(written.writes)
    time.sleep(0.05)
    assert len(written.writes) == before > 8
