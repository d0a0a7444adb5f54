"""Plain headers, read and written without tarfile: the same as tarfile's, or left to it."""

import io
import random
import tarfile

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tars import Entry, tar_bytes

from beam_curator.samples import Shard, ShardRange
from beam_curator.tar import index, reading
from beam_curator.tar.index import TarBroken
from beam_curator.tar.plain import member_headers, plain_sample

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
START = 1000


def without_end(tar):
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        opened.getmembers()
        return tar[: opened.offset]


def by_tarfile(data, offset, span_bytes):
    """The sample as the reader of every tar has it; None where it refuses it."""
    try:
        return reading._sample_in(data, START, offset, span_bytes)
    except TarBroken:
        return None


def content(sample):
    members = [(m.extension, m.offset, m.size, bytes(m.data)) for m in sample.members.values()]
    return sample.key, sample.offset, sample.span_bytes, sample.failure, members


def check(data, offset, span_bytes):
    """A plain sample is what tarfile makes of it; whether it was plain."""
    plain = plain_sample(data, START, offset, span_bytes)
    if plain is not None:
        expected = by_tarfile(data, offset, span_bytes)
        assert expected is not None
        assert content(plain) == content(expected)
    return plain is not None


@settings(max_examples=300)
@given(ENTRIES, FORMATS, st.sampled_from([0, 512]))
def test_what_is_plain_is_read_as_tarfile_reads_it(entries, format, before):
    tar = without_end(tar_bytes(entries, format))
    check(bytes(before) + tar, START + before, len(tar))


@settings(max_examples=500)
@given(st.integers(0, 3 * 512 - 1), st.integers(0, 255), FORMATS, st.booleans())
@example(156, ord("L"), tarfile.GNU_FORMAT, True)
def test_a_header_with_any_byte_changed_is_never_read_in_another_way(place, byte, format, mend_checksum):
    tar = bytearray(without_end(tar_bytes([("a.jpg", b"x" * 400), ("a.txt", b"y" * 512)], format)))
    tar[place] = byte
    if mend_checksum and place // 512 != 1:
        begin = place // 512 * 512
        tar[begin + 148 : begin + 156] = b" " * 8
        tar[begin + 148 : begin + 156] = b"%06o\0 " % sum(tar[begin : begin + 512])
    for span_bytes in (len(tar), len(tar) - 512, len(tar) // 2):
        check(bytes(tar), START, span_bytes)


def headers_by(read, data):
    """Headers until the end, and where and why the tar breaks."""
    found = []
    try:
        found.extend(read(io.BytesIO(data)))
    except TarBroken as broken:
        return found, (broken.offset, broken.reason)
    return found, None


@settings(max_examples=500)
@given(ENTRIES, FORMATS, st.integers(0, 4000), st.integers(0, 255), st.integers(0, 6000))
def test_the_headers_of_a_tar_are_those_of_tarfile_plain_or_not_whole_or_not(entries, format, place, byte, cut):
    tar = bytearray(tar_bytes(entries, format))
    if place < len(tar):
        tar[place] = byte
    for data in (bytes(tar), bytes(tar[:cut])):
        expected = headers_by(lambda file: index._headers_by_tarfile(file, 0), data)
        assert headers_by(index.iter_headers, data) == expected


def webdataset_tar(mtime):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name in ("a.jpg", "a.txt"):
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uname, info.gname, info.mode = 700, mtime, "bigdata", "bigdata", 0o444
            tar.addfile(info, io.BytesIO(bytes(700)))
    return without_end(file.getvalue())


@pytest.mark.parametrize(
    "tar",
    [
        webdataset_tar(1_700_000_000),
        webdataset_tar(1_700_000_000.123456),
        *(
            without_end(tar_bytes([("a.jpg", b"x" * 700), ("a.json", b""), ("a.txt", b"z" * 512)], format))
            for format in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
        ),
    ],
    ids=["whole seconds", "webdataset's time records", "ustar", "gnu", "pax"],
)
def test_the_shards_that_people_have_are_plain(tar):
    assert check(tar, START, len(tar))


def test_shards_of_gnu_tar_are_plain(shared):
    for path in sorted((shared / "data").glob("*.tar")):
        data = path.read_bytes()
        samples, errors = reading.read_range(ShardRange(Shard(str(path), len(data)), 0, len(data), 0, last=True))
        assert samples
        assert not errors
        for sample in samples:
            found = plain_sample(data, 0, sample.offset, sample.span_bytes)
            assert found is not None
            assert content(found) == content(sample)


SIZED_NAMES = st.tuples(st.text(max_size=120), st.one_of(st.integers(0, 1 << 40), st.sampled_from([8**11 - 1, 8**11])))


@settings(max_examples=300)
@given(st.lists(SIZED_NAMES, min_size=1, max_size=4))
@example([("é.jpg", 1), ("a.jpg", 1)])
@example([("\udcff.jpg", 1)])
@example([("n" * 100, 5), ("n" * 101, 5), ("a", 8**11)])
def test_the_headers_of_members_are_those_that_tarfile_writes(members):
    expected = []
    try:
        for name, size in members:
            info = tarfile.TarInfo(name)
            info.size = size
            expected.append(info.tobuf(tarfile.PAX_FORMAT, tarfile.ENCODING, "surrogateescape"))
    except UnicodeEncodeError:
        with pytest.raises(UnicodeEncodeError):
            member_headers(members)
        return
    assert member_headers(members) == expected


def test_no_members_have_no_headers():
    assert member_headers([]) == []
