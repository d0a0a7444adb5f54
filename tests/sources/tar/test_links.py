"""Hard links inside a shard stand for the file that they link to; all else that is no file is counted."""

import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_curator.sources.tar.planning import plan_ranges
from beam_curator.sources.tar.reading import read_range
from tests.examples import examples
from tests.tars import COMPRESSORS, Entry, as_reference, members_of, read_bytes, standing, tar_bytes

WHOLE = 1 << 40


def link(name, target):
    return Entry(name, type=tarfile.LNKTYPE, link=target)


def contents(data, range_bytes=WHOLE):
    with standing(data) as shard:
        return [read_range(one) for one in plan_ranges(shard, range_bytes)]


def passed_over(data, range_bytes=WHOLE):
    counts = {}
    for one in contents(data, range_bytes):
        for kind, count in one.passed_over.items():
            counts[kind] = counts.get(kind, 0) + count
    return counts


ARCHIVE = [
    ("0.jpg", b"zero" * 300),
    ("0.txt", b"a"),
    link("1.jpg", "0.jpg"),
    ("1.txt", b"b"),
    link("2.jpg", "1.jpg"),
    link("2.png", "./2.jpg"),
    ("2.txt", b"c"),
]
REAL = [
    ("0.jpg", b"zero" * 300),
    ("0.txt", b"a"),
    ("1.jpg", b"zero" * 300),
    ("1.txt", b"b"),
    ("2.jpg", b"zero" * 300),
    ("2.png", b"zero" * 300),
    ("2.txt", b"c"),
]


@pytest.mark.parametrize("compression", ["", *COMPRESSORS])
@pytest.mark.parametrize("range_bytes", [1, 2500, WHOLE])
def test_a_hard_link_is_the_file_that_it_links_to_in_whatever_range_that_stands(range_bytes, compression):
    data = tar_bytes(ARCHIVE)
    packed = COMPRESSORS[compression](data) if compression else data
    samples, errors = read_bytes(packed, range_bytes)
    assert errors == []
    assert as_reference(samples) == as_reference(read_bytes(tar_bytes(REAL))[0])
    for sample in samples:
        assert sample.headers_crc32 is not None
        for member in sample.members.values():
            assert data[member.offset : member.offset + member.size] == bytes(member.data)


def test_links_without_an_earlier_file_are_passed_over_and_counted():
    data = tar_bytes(
        [
            link("0.jpg", "1.jpg"),  # a later one
            ("1.jpg", b"x"),
            link("1.png", "gone.png"),
            Entry("1.gif", type=tarfile.SYMTYPE, link="1.jpg"),
            link("1.bmp", "1.gif"),  # to a link that is no file
            link("README", "1.jpg"),
        ]
    )
    samples, _ = read_bytes(data)
    assert [(sample.key, members_of(sample)) for sample in samples] == [("1", {"jpg": b"x"})]
    assert passed_over(data) == {"hard link": 4, "symbolic link": 1}


def test_the_last_earlier_file_of_a_name_is_meant():
    samples, _ = read_bytes(tar_bytes([("a.jpg", b"1"), ("a.jpg", b"2"), link("b.jpg", "a.jpg"), ("a.jpg", b"3")]))
    assert [members_of(sample) for sample in samples if sample.key == "b"] == [{"jpg": b"2"}]


@pytest.mark.slow
def test_a_long_chain_of_links_is_followed_in_no_time_that_grows_with_its_square():
    chain = [("0.jpg", b"x"), *(link(f"{i}.jpg", f"{i - 1}.jpg") for i in range(1, 3000))]
    samples, _ = read_bytes(tar_bytes(chain, tarfile.GNU_FORMAT))
    assert len(samples) == 3000
    assert {bytes(sample.members["jpg"].data) for sample in samples} == {b"x"}


@pytest.mark.parametrize("range_bytes", [1, 1500, WHOLE])
def test_what_belongs_to_no_sample_is_counted_by_kind_in_whatever_range_it_stands(range_bytes):
    data = tar_bytes(
        [
            Entry("photos", type=tarfile.DIRTYPE),
            ("photos/._0000.jpg", b"apple"),
            ("photos/0000.jpg", b"x"),
            ("photos/._0000.txt", b"apple"),
            ("photos/0000.txt", b"a caption"),
            ("photos/.DS_Store", b"finder"),
            ("README", b"text"),
            ("__meta__/x.json", b"{}"),
            Entry("tty", type=tarfile.CHRTYPE),
            Entry("pipe.jpg", type=tarfile.FIFOTYPE),
            ("photos/0001.jpg", b"y"),
        ]
    )
    samples, _ = read_bytes(data, range_bytes)
    assert [(sample.key, members_of(sample)) for sample in samples] == [
        ("photos/0000", {"jpg": b"x", "txt": b"a caption"}),
        ("photos/0001", {"jpg": b"y"}),
    ]
    assert passed_over(data, range_bytes) == {
        "AppleDouble file": 2,
        "dot file": 1,
        "name without a dot": 1,
        "__meta__ name": 1,
        "device or pipe": 2,
    }


NAMES = st.builds("{}.{}".format, st.sampled_from(["a", "b", "dir/c"]), st.sampled_from(["jpg", "txt", "png"]))
FILES = st.builds(Entry, NAMES, st.binary(max_size=700))
LINKS = st.builds(link, NAMES, NAMES)


@pytest.mark.slow
@examples(150)
@given(st.lists(st.one_of(FILES, LINKS), max_size=14), st.integers(1, 6000), st.sampled_from(["", "gzip"]))
def test_any_links_give_what_files_in_their_place_would_give(entries, range_bytes, compression):
    standing_for, real = {}, []
    for entry in entries:
        if entry.type == tarfile.REGTYPE:
            standing_for[entry.name] = entry.data
            real.append(entry)
        else:
            data = standing_for.get(entry.link)
            standing_for[entry.name] = data
            if data is not None:
                real.append(Entry(entry.name, data))
    packed = tar_bytes(entries)
    samples, errors = read_bytes(COMPRESSORS[compression](packed) if compression else packed, range_bytes)
    assert errors == []
    assert as_reference(samples) == as_reference(read_bytes(tar_bytes(real))[0])
