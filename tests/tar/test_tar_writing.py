"""Written tars are tarfile's, byte for byte, in few writes."""

import io
import random
import tarfile

from hypothesis import example, given, settings
from hypothesis import strategies as st

from beam_curator.tar.writing import GATHERED_BYTES, LARGE_BYTES, TarWriter

SIZES = st.sampled_from([0, 1, 511, 512, 513, 9000, LARGE_BYTES - 1, LARGE_BYTES, LARGE_BYTES + 5])
NAMES = st.sampled_from(["000000001.jpg", "é.txt", "x" * 130, "000000001.curation.json"])
NOISE = random.Random(1).randbytes(LARGE_BYTES + 5)


class Recording(io.BytesIO):
    def __init__(self):
        super().__init__()
        self.writes = []

    def write(self, data):
        self.writes.append(len(data))
        return super().write(data)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(NAMES, SIZES), max_size=12))
@example([("a.jpg", LARGE_BYTES - 1)] * 40)
def test_a_tar_is_the_one_that_tarfile_writes(members):
    expected, written = io.BytesIO(), Recording()
    with tarfile.open(fileobj=expected, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for name, size in members:
            info = tarfile.TarInfo(name)
            info.size = size
            tar.addfile(info, io.BytesIO(NOISE[:size]))
    writer = TarWriter(written)
    for name, size in members:
        writer.add(name, memoryview(NOISE)[:size])
    writer.finish()
    assert written.getvalue() == expected.getvalue()
    assert writer.bytes_written == len(expected.getvalue())


def test_small_members_are_gathered_and_large_ones_written_as_they_are():
    written = Recording()
    writer = TarWriter(written)
    for index in range(3000):
        writer.add(f"{index}.txt", b"small")
    writer.add("large.jpg", NOISE)
    writer.finish()
    assert len(written.writes) == 3000 * 1024 // GATHERED_BYTES + 1 + 1 + 1
    assert len(NOISE) in written.writes
