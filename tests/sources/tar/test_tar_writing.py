"""Written tars end as tarfile's do, and are written in few writes, by this thread or behind its back."""

import contextlib
import io
import itertools
import random
import tarfile
import threading
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from beam_curator.sources.tar.writing import WRITE_BYTES, writing_tar
from tests.examples import examples

SIZES = st.sampled_from([0, 1, 511, 512, 513, 9000, WRITE_BYTES - 1, WRITE_BYTES, WRITE_BYTES + 5])
NAMES = st.sampled_from(["000000001.jpg", "é.txt", "x" * 130, "000000001.curation.json"])
NOISE = random.Random(1).randbytes(WRITE_BYTES + 5)


@pytest.fixture(params=[True, False], ids=["behind", "at once"])
def behind(request):
    return request.param


class Recording(io.BytesIO):
    def __init__(self):
        super().__init__()
        self.writes = []

    def writelines(self, pieces):
        data = b"".join(pieces)
        self.writes.append(len(data))
        super().write(data)


def member(name, data):
    """The pieces of a member, as tarfile writes it."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return [info.tobuf(tarfile.PAX_FORMAT, tarfile.ENCODING, "surrogateescape"), data, bytes(-len(data) % 512)]


@examples(80)
@given(st.lists(st.lists(st.tuples(NAMES, SIZES), max_size=4), max_size=4), st.booleans())
@example([[("a.jpg", 9000)] * 300] * 4, True)
def test_a_tar_is_the_one_that_tarfile_writes(groups, behind):
    expected, written = io.BytesIO(), Recording()
    with tarfile.open(fileobj=expected, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for name, size in itertools.chain.from_iterable(groups):
            info = tarfile.TarInfo(name)
            info.size = size
            tar.addfile(info, io.BytesIO(NOISE[:size]))
    with writing_tar(written, behind) as writer:
        for members in groups:
            writer.add([piece for name, size in members for piece in member(name, memoryview(NOISE)[:size])])
    assert written.getvalue() == expected.getvalue()
    assert writer.bytes_written == len(expected.getvalue())


def test_members_are_gathered_to_large_writes(behind):
    written = Recording()
    with writing_tar(written, behind) as writer:
        for index in range(9000):
            writer.add(member(f"{index}.txt", b"small"))
    assert len(written.writes) == 9000 * 1024 // WRITE_BYTES + 1


class Failing(Recording):
    def writelines(self, pieces):
        if len(self.writes) == 1:
            raise OSError("no space")
        super().writelines(pieces)


def write_large_members(file, behind, failure=None):
    """Writes eight large members; the names of those that were added."""
    added = []
    with contextlib.suppress(OSError), writing_tar(file, behind) as writer:
        for index in range(8):
            added.append(f"{index}.jpg")
            writer.add(member(added[-1], NOISE))
        if failure:
            raise failure
    return added


def test_a_write_that_fails_fails_the_tar(behind):
    assert len(write_large_members(Failing(), behind)) < 4
    with pytest.raises(OSError, match="no space"), writing_tar(Failing(), behind) as writer:
        writer.add(member("first.jpg", NOISE))


def test_what_is_written_behind_is_written_by_another_thread(behind):
    threads = []

    class Watched(Recording):
        def writelines(self, pieces):
            threads.append(threading.current_thread())
            super().writelines(pieces)

    write_large_members(Watched(), behind)
    assert (threading.current_thread() in threads) == (not behind)
    assert len(set(threads)) == 1


def test_nothing_is_written_once_the_block_has_ended(behind):
    written = Recording()
    write_large_members(written, behind, OSError("what makes the members fails"))
    before = len(written.writes)
    time.sleep(0.05)
    assert len(written.writes) == before == 8
