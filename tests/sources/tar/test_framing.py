"""A frame with its data put in is the tar that tarfile writes."""

import io
import random
import tarfile

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from beam_curator.sources.tar.framing import framed
from tests.examples import examples

NOISE = random.Random(1).randbytes(5000)
NAMES = st.sampled_from(["a.jpg", "000000001.curation.json", "é.txt", "\udcff.png", "x" * 100, "x" * 101, "x" * 700])
SIZES = st.sampled_from([0, 1, 511, 512, 513, 1024, 1537, 5000])


def by_tarfile(members):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape") as tar:
        for name, size, _ in members:
            info = tarfile.TarInfo(name)
            info.size = size
            tar.addfile(info, io.BytesIO(NOISE[:size]))
        return file.getvalue()[: tar.offset]


def frame_of(members):
    names = [name.encode("utf-8", "surrogateescape") for name, _, _ in members]
    sizes = np.array([size for _, size, _ in members], np.int64)
    return framed(names, sizes, np.array([large for _, _, large in members], bool))


@examples(300)
@given(st.lists(st.tuples(NAMES, SIZES, st.booleans()), max_size=6))
@example([("a.jpg", 5000, True)])
@example([("x" * 700, 1024, True), ("é.txt", 0, True)])
def test_with_its_data_it_is_the_tar_that_tarfile_writes(members):
    frame = frame_of(members)
    written, done = b"", 0
    content = frame.content.data
    for (_, size, large), place, left_out in zip(members, frame.data_at, frame.left_out, strict=True):
        assert left_out == (size // 512 * 512 if large else 0)
        content[place : place + size - left_out] = NOISE[left_out:size]
        written += bytes(content[done:place]) + NOISE[:left_out]
        done = place
    assert written + bytes(content[done:]) == by_tarfile(members)
    assert frame.end.tolist()[-1:] == [len(content)][: len(members)]


def test_data_is_put_into_its_members_one_by_one_or_all_at_once():
    members = [("a.npy", 600, False), ("a.json", 3, False), ("b.npy", 600, False), ("b.json", 5, False)]
    frame = frame_of(members)
    frame.put_rows(np.array([0, 2]), np.frombuffer(NOISE[:600] * 2, np.uint8).reshape(2, 600))
    frame.put(np.array([1, 3]), [NOISE[:3], NOISE[:5]])
    assert frame.content.tobytes() == by_tarfile(members)


def test_no_members_have_an_empty_frame():
    assert frame_of([]).content.size == 0
