"""Plain headers, read and written without tarfile: the same as tarfile's, or left to it."""

import io
import random
import tarfile

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from beam_curator.sources.tar import headers
from beam_curator.sources.tar.headers import TarBroken
from beam_curator.sources.tar.plain_headers import member_headers
from tests.examples import examples
from tests.tars import Entry, tar_bytes

FORMATS = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
NAMES = st.sampled_from(
    [
        *("a.jpg", "a.JPG", "a.txt", "a.seg.png", "b.jpg", "d/a.jpg", "a", "a.", "é.jpg", "\udcff.jpg", "__meta__/x.y"),
        *("a.__key__", f"{'n' * 96}.jpg", f"{'n' * 97}.jpg", f"{'d/' * 60}a.jpg"),
    ]
)
ENTRIES = st.lists(
    st.builds(
        Entry,
        NAMES,
        st.integers(0, 1200).map(lambda size: random.Random(size).randbytes(size)),
        st.sampled_from([tarfile.REGTYPE] * 6 + [tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE]),
    ),
    min_size=1,
    max_size=4,
)


def headers_by(read, data):
    """Headers until the end, and where and why the tar breaks."""
    found = []
    try:
        found.extend(read(io.BytesIO(data)))
    except TarBroken as broken:
        return found, (broken.offset, broken.reason)
    return found, None


@pytest.mark.slow
@examples(500)
@given(ENTRIES, FORMATS, st.integers(0, 4000), st.integers(0, 255), st.integers(0, 6000))
def test_the_headers_of_a_tar_are_those_of_tarfile_plain_or_not_whole_or_not(entries, format, place, byte, cut):
    tar = bytearray(tar_bytes(entries, format))
    if place < len(tar):
        tar[place] = byte
    for data in (bytes(tar), bytes(tar[:cut])):
        expected = headers_by(lambda file: headers._headers_by_tarfile(file, 0), data)
        assert headers_by(headers.iter_headers, data) == expected


@examples(500)
@given(st.integers(0, 3 * 512 - 1), st.integers(0, 255), FORMATS, st.booleans())
@example(156, ord("L"), tarfile.GNU_FORMAT, True)
def test_a_header_with_any_byte_changed_is_never_read_in_another_way(place, byte, format, mend_checksum):
    tar = bytearray(tar_bytes([("a.jpg", b"x" * 400), ("a.txt", b"y" * 512)], format))
    tar[place] = byte
    if mend_checksum and place // 512 != 1:
        begin = place // 512 * 512
        tar[begin + 148 : begin + 156] = b" " * 8
        tar[begin + 148 : begin + 156] = b"%06o\0 " % sum(tar[begin : begin + 512])
    expected = headers_by(lambda file: headers._headers_by_tarfile(file, 0), bytes(tar))
    assert headers_by(headers.iter_headers, bytes(tar)) == expected


def check_plain(tar, monkeypatch):
    """No header but the end-of-archive block is left to tarfile."""
    asked, by_tarfile = [], headers._headers_by_tarfile

    def watched(file, offset):
        asked.append(offset)
        return by_tarfile(file, offset)

    monkeypatch.setattr(headers, "_headers_by_tarfile", watched)
    *_, last = headers.iter_headers(io.BytesIO(tar))
    assert asked == [last.next_offset]


def webdataset_tar(mtime):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name in ("a.jpg", "a.txt"):
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uname, info.gname, info.mode = 700, mtime, "bigdata", "bigdata", 0o444
            tar.addfile(info, io.BytesIO(bytes(700)))
    return file.getvalue()


@pytest.mark.parametrize(
    "tar",
    [
        webdataset_tar(1_700_000_000),
        webdataset_tar(1_700_000_000.123456),
        *(
            tar_bytes([("a.jpg", b"x" * 700), ("a.json", b""), ("a.txt", b"z" * 512)], format)
            for format in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
        ),
    ],
    ids=["whole seconds", "webdataset's time records", "ustar", "gnu", "pax"],
)
def test_the_shards_that_people_have_are_plain(tar, monkeypatch):
    check_plain(tar, monkeypatch)


def test_shards_of_gnu_tar_are_plain(shared, monkeypatch):
    paths = sorted((shared / "data").glob("*.tar"))
    assert paths
    for path in paths:
        with monkeypatch.context() as patched:
            check_plain(path.read_bytes(), patched)


NAME_CHARACTERS = st.characters(exclude_categories=["Cs"]) | st.just("\udcff")
SIZED_NAMES = st.tuples(
    st.text(NAME_CHARACTERS, max_size=120), st.one_of(st.integers(0, 1 << 40), st.sampled_from([8**11 - 1, 8**11]))
)


@examples(300)
@given(st.lists(SIZED_NAMES, max_size=4))
@example([("é.jpg", 1), ("a.jpg", 1)])
@example([("\udcff.jpg", 1)])
@example([("n" * 100, 5), ("n" * 101, 5), ("a", 8**11)])
def test_the_headers_of_members_are_those_that_tarfile_writes(members):
    expected = []
    for name, size in members:
        info = tarfile.TarInfo(name)
        info.size = size
        expected.append(info.tobuf(tarfile.PAX_FORMAT, tarfile.ENCODING, "surrogateescape"))
    names = [name.encode("utf-8", "surrogateescape") for name, _ in members]
    blocks, others = member_headers(names, np.array([size for _, size in members], np.int64))
    assert blocks.shape == (len(members), 512)
    assert [others.get(index, block.tobytes()) for index, block in enumerate(blocks)] == expected
