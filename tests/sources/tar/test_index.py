"""Headers and grouping: what stands where, and why reading stopped."""

import io
import struct
import tarfile

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from beam_curator.sources.tar.grouping import group_samples
from beam_curator.sources.tar.headers import TarBroken, check_end, iter_headers
from tests.examples import examples
from tests.tars import Entry, header, tar_bytes, without_end

END = bytes(1024)


def headers_until_break(data):
    found = []
    try:
        for one in iter_headers(io.BytesIO(data)):
            found.append(one)
    except TarBroken as broken:
        return found, broken
    return found, None


def samples_until_break(data):
    found = []
    try:
        found.extend(group_samples(iter_headers(io.BytesIO(data))))
    except TarBroken as broken:
        return found, broken
    return found, None


def test_headers_say_where_each_entry_its_data_and_the_next_begin():
    data = tar_bytes([("a.jpg", b"x" * 700), ("b.txt", b""), ("c.txt", b"y")], tarfile.USTAR_FORMAT)
    found, broken = headers_until_break(data)
    assert broken is None
    assert [(h.name, h.offset, h.data_offset, h.size, h.next_offset) for h in found] == [
        ("a.jpg", 0, 512, 700, 1536),
        ("b.txt", 1536, 2048, 0, 2048),
        ("c.txt", 2048, 2560, 1, 3072),
    ]


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_long_name_begins_at_its_extension_header(format):
    data = tar_bytes([("a.jpg", b"x"), ("n" * 200 + ".jpg", b"y")], format)
    found, _ = headers_until_break(data)
    assert found[1].name == "n" * 200 + ".jpg"
    assert found[1].offset == found[0].next_offset
    assert found[1].data_offset - found[1].offset > 512
    assert data[found[1].data_offset : found[1].data_offset + 1] == b"y"


def test_a_global_header_as_git_archive_writes_it_changes_nothing():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "0" * 40}) as tar:
        tar.addfile(tarfile.TarInfo("a.jpg"))
        tar.addfile(tarfile.TarInfo("b.jpg"))
    samples, broken = samples_until_break(file.getvalue())
    assert broken is None
    assert [sample.key for sample in samples] == ["a", "b"]


@pytest.mark.parametrize(
    ("data", "offset", "reason"),
    [
        (b"<html>" * 200, 0, "not a tar header"),
        (b"\xff" * 2000, 0, "not a tar header"),
        (b"short", 0, "truncated inside a header"),
        (header("a.jpg", 1)[:300], 0, "truncated inside a header"),
        (header("a.jpg") + header("b.jpg")[:300], 512, "truncated inside a header"),
        (header("a.jpg") + b"garbage!" * 64, 512, "invalid header"),
        (header("a.jpg") + header("b.jpg").replace(b"b.jpg", b"c.jpg") + END, 512, "invalid header (bad checksum)"),
        (header("a.jpg", 2000) + bytes(1000), 2560, "truncated: a member ends after the end of the file"),
        (header("a.jpg", -512) + END, 0, "impossible size (-512 bytes)"),
        (header("a.jpg") + header("b.jpg", 1 << 60) + END, 512, f"impossible size ({1 << 60} bytes)"),
        (header("a.jpg", 1 << 80) + END, 0, "impossible size"),
        (header("a.jpg") + header("x", -512, tarfile.GNUTYPE_LONGNAME) + END, 512, "negative size"),
        (header("a.jpg") + header("x", 1 << 60, tarfile.XHDTYPE) + END, 512, "invalid header"),
    ],
)
def test_a_tar_that_cannot_be_read_on_says_why_and_where(data, offset, reason):
    _, broken = headers_until_break(data)
    assert broken.offset == offset
    assert reason in broken.reason
    assert str(broken) == f"{broken.reason} at byte {offset}"


def test_a_size_beyond_any_file_is_refused_without_asking_the_file_system(tmp_path):
    path = tmp_path / "huge.tar"
    path.write_bytes(header("a.jpg") + header("b.jpg", 1 << 60) + END)
    with path.open("rb") as file, pytest.raises(TarBroken, match="impossible size"):
        list(iter_headers(file))


def test_a_size_that_reaches_over_the_next_header_is_refused():
    record = b"GNU.sparse.realsize=9999\n"
    pax = b"%d %s" % (len(record) + 3, record)
    data = header("x", len(pax), tarfile.XHDTYPE) + pax.ljust(512, b"\0") + header("a.jpg") + header("b.jpg") + END
    _, broken = headers_until_break(data)
    assert "impossible size (9999 bytes)" in broken.reason


def test_a_long_chain_of_extension_headers_is_a_broken_tar_and_not_a_crash():
    chain = (header("x", 512, tarfile.GNUTYPE_LONGNAME) + bytes(512)) * 2000
    found, broken = headers_until_break(header("a.jpg") + chain + END)
    assert [one.name for one in found] == ["a.jpg"]
    assert broken.offset == 512
    assert "invalid header" in broken.reason


def test_a_claimed_size_takes_no_more_memory_than_a_megabyte_a_read():
    class Endless(io.RawIOBase):
        largest = 0

        def __init__(self, head):
            self.file, self.tell, self.seek = io.BytesIO(head), None, None
            self.tell, self.seek = self.file.tell, self.file.seek

        def read(self, size=-1):
            Endless.largest = max(Endless.largest, size)
            return self.file.read(size)

    with pytest.raises(TarBroken):
        list(iter_headers(Endless(header("x", 1 << 40, tarfile.XHDTYPE) + bytes(512))))
    assert 0 < Endless.largest <= 1 << 20


SEED = tar_bytes(
    [("a.jpg", b"x" * 600), ("n" * 120 + ".txt", b"y"), Entry("link", type=tarfile.SYMTYPE), ("é.json", b"{}")]
)
SPARSE = header("s.jpg", 0, tarfile.GNUTYPE_SPARSE) + END


@examples(300)
@given(
    st.sampled_from([SEED, tar_bytes([("n" * 120 + ".jpg", b"x")], tarfile.GNU_FORMAT), SPARSE]),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=6),
    st.integers(0, 1 << 13),
    st.booleans(),
)
@example(SEED, [], 0, False)
def test_damaged_headers_never_raise_anything_but_tar_broken_and_offsets_only_grow(data, flips, cut, checksums):
    damaged = bytearray(data[: max(cut, 1)])
    for position, value in flips:
        if position < len(damaged):
            damaged[position] = value
    if checksums:  # so that what else is wrong is looked at
        for start in range(0, len(damaged) - 511, 512):
            total = sum(damaged[start : start + 148]) + 256 + sum(damaged[start + 156 : start + 512])
            damaged[start + 148 : start + 156] = b"%06o\0 " % total
    found, broken = headers_until_break(bytes(damaged))
    places = [place for one in found for place in (one.offset, one.data_offset, one.next_offset)]
    assert places == sorted(places)
    assert all(one.size >= 0 for one in found)
    assert broken is None or broken.reason


def test_the_end_of_the_archive_is_told_from_a_cut_at_a_members_end():
    data = tar_bytes([("a.jpg", b"x")])
    end = len(without_end(data))
    check_end(io.BytesIO(data), end)
    check_end(io.BytesIO(data[: end + 512]), end)
    with pytest.raises(TarBroken, match="no end-of-archive block"):
        check_end(io.BytesIO(data[:end]), end)
    with pytest.raises(TarBroken, match="empty file"):
        check_end(io.BytesIO(b""), 0)


def test_a_sample_spans_from_its_first_header_to_the_end_of_its_last_member():
    data = tar_bytes([("a.jpg", b"x" * 513), ("a.txt", b"y"), ("b.jpg", b"z")], tarfile.USTAR_FORMAT)
    samples, _ = samples_until_break(data)
    assert [(s.key, s.offset, s.span_bytes) for s in samples] == [("a", 0, 2560), ("b", 2560, 1024)]
    assert list(samples[0].members) == ["jpg", "txt"]


def test_consecutive_members_of_one_key_are_one_sample_and_a_key_that_comes_back_is_another():
    samples, _ = samples_until_break(tar_bytes([("a.jpg", b""), ("b.jpg", b""), ("a.txt", b"")]))
    assert [(s.key, list(s.members)) for s in samples] == [("a", ["jpg"]), ("b", ["jpg"]), ("a", ["txt"])]


@pytest.mark.parametrize(
    ("names", "failure"),
    [
        (["a.jpg", "a.jpg"], 'repeated member "jpg"'),
        (["a.jpg", "a.JPG", "a.txt"], 'repeated member "jpg"'),
        (["a.jpg", "a.__key__"], 'member with a reserved name "__key__"'),
        (["a.jpg", "a.__URL__"], 'member with a reserved name "__url__"'),
    ],
)
def test_a_sample_that_webdataset_cannot_hold_is_failed(names, failure):
    samples, _ = samples_until_break(tar_bytes([(name, b"") for name in [*names, "b.jpg"]]))
    assert [(s.key, s.failure) for s in samples] == [("a", failure), ("b", None)]


def test_an_extension_with_a_nul_is_failed_because_no_tar_header_holds_it():
    samples, _ = samples_until_break(tar_bytes([("é.j\0pg", b"")]))
    assert samples[0].failure == 'member with a reserved name "j\0pg"'


def test_a_sparse_member_fails_its_sample_and_the_next_one_goes_on():
    sparse = bytearray(header("a.jpg", 0, tarfile.GNUTYPE_SPARSE))
    sparse[386:410] = b"%011o\0%011o\0" % (0, 0)
    sparse[483:495] = b"%011o\0" % 1000
    sparse[148:156] = b"%06o\0 " % (sum(sparse[:148]) + 256 + sum(sparse[156:]))
    samples, broken = samples_until_break(bytes(sparse) + header("b.jpg") + END)
    assert broken is None
    assert [(s.key, s.failure) for s in samples] == [("a", 'sparse member "jpg"'), ("b", None)]


@pytest.mark.parametrize(
    "type", [tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]
)
def test_links_devices_and_directories_belong_to_no_sample_and_end_none(type):
    data = tar_bytes([("a.jpg", b"x"), Entry("b.jpg", type=type), ("a.txt", b"y")])
    samples, broken = samples_until_break(data)
    assert broken is None
    assert [(s.key, list(s.members)) for s in samples] == [("a", ["jpg", "txt"])]


def test_the_last_sample_before_a_break_is_given_before_the_break_is_raised():
    samples, broken = samples_until_break(without_end(tar_bytes([("a.jpg", b"x")])) + b"garbage!" * 64)
    assert [sample.key for sample in samples] == ["a"]
    assert broken.offset == samples[0].span_bytes


def test_struct_errors_of_hostile_headers_are_not_ours_to_raise():
    damaged = bytearray(header("a.jpg", 1, tarfile.GNUTYPE_SPARSE))
    struct.pack_into("504s", damaged, 8, b"\xff" * 504)
    _, broken = headers_until_break(bytes(damaged))
    assert broken.offset == 0
