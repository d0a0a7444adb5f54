"""Members of one key that stand apart in a shard: joined where that is asked for, else told."""

import random
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_curator.reading import Reading
from beam_curator.samples import REPEATED_KEYS, RETURNING_KEYS
from beam_curator.sources.tar.extents import extents_of, laid
from beam_curator.sources.tar.planning import plan_ranges
from beam_curator.sources.tar.reading import read_range
from beam_curator.sources.tar.span_reading import read_laid
from tests.examples import examples
from tests.tars import COMPRESSORS, Entry, members_of, standing, tar_bytes, without_end

BY_KEY = Reading(group_by_key=True)
WHOLE = 1 << 40
APART = [(f"{i}.{e}", f"{e}{i}".encode() * 200) for e in ("jpg", "txt") for i in range(8)]


def read(data, range_bytes=WHOLE, reading=BY_KEY):
    with standing(data) as shard:
        return [read_range(one) for one in plan_ranges(shard, range_bytes, reading=reading)]


def samples_of(contents):
    return [sample for one in contents for sample in one.samples]


def findings_of(contents):
    return [finding for one in contents for finding in one.findings]


ENTRIES = st.lists(
    st.tuples(
        st.builds("{}.{}".format, st.sampled_from("abcd"), st.sampled_from(["jpg", "txt", "json"])),
        st.binary(max_size=900),
    ),
    max_size=12,
)


@examples(150)
@given(ENTRIES, st.integers(1, 6000), st.sampled_from(["", *COMPRESSORS]))
def test_for_every_split_each_key_is_one_sample_with_all_its_members(entries, range_bytes, compression):
    expected, repeated = {}, set()
    for name, data in entries:
        key, extension = name.split(".")
        repeated |= {key} if extension in expected.setdefault(key, {}) else set()
        expected[key].setdefault(extension, data)
    tar = tar_bytes(entries)
    contents = read(COMPRESSORS[compression](tar) if compression else tar, range_bytes)
    samples = samples_of(contents)
    assert [sample.key for sample in samples] == list(expected)
    assert {sample.key for sample in samples if sample.failure} == repeated
    for sample in samples:
        if not sample.failure:
            assert list(members_of(sample).items()) == list(expected[sample.key].items())
    assert [error for one in contents for error in one.errors] == []
    assert findings_of(contents) == []


@examples(60)
@given(st.randoms(use_true_random=False), st.integers(600, 20_000), st.sampled_from(["", "gzip"]))
def test_samples_laid_in_one_piece_have_their_members_where_they_are_said_to_be(shuffled, range_bytes, compression):
    entries = list(APART)
    shuffled.shuffle(entries)
    tar = tar_bytes(entries)
    packed = COMPRESSORS[compression](tar) if compression else tar
    with standing(packed) as shard:
        for one in plan_ranges(shard, range_bytes, reading=BY_KEY):
            samples = read_range(one).samples
            at, spans = 0, []
            for sample in samples:
                spans.append((at, sample.span_bytes))
                at += sample.span_bytes
            data = b"".join(data for _, data in read_laid(one, spans, [extents_of(sample) for sample in samples]))
            assert len(data) == at
            for (begin, _), sample in zip(spans, samples, strict=True):
                places = laid(extents_of(sample), [(m.offset, m.size) for m in sample.members.values()])
                for place, member in zip(places, sample.members.values(), strict=True):
                    assert data[begin + place : begin + place + member.size] == member.data


@pytest.mark.parametrize("range_bytes", [1, 3000, WHOLE])
def test_without_the_flag_samples_whose_key_comes_back_are_told_in_whatever_ranges_they_stand(range_bytes):
    contents = read(tar_bytes(APART), range_bytes, Reading())
    samples = samples_of(contents)
    assert [list(sample.members) for sample in samples] == [["jpg"]] * 8 + [["txt"]] * 8
    assert {sample.same_key for sample in samples} == {2}
    findings = findings_of(contents)
    assert sum(finding.samples for finding in findings) == 8
    assert {finding.kind for finding in findings} == {RETURNING_KEYS}
    first = min(findings)
    assert (first.key, first.offset) == ("0", samples[8].offset)


@pytest.mark.parametrize("range_bytes", [1, WHOLE])
def test_whole_samples_that_come_twice_are_told_as_repeated(range_bytes):
    twice = [("a.jpg", b"1"), ("a.txt", b"2"), ("b.jpg", b"3"), ("a.jpg", b"4"), ("a.txt", b"5")]
    findings = findings_of(read(tar_bytes(twice), range_bytes, Reading()))
    assert [(one.kind, one.key, one.samples) for one in findings] == [(REPEATED_KEYS, "a", 1)]


def test_a_shard_whose_keys_do_not_come_back_tells_nothing():
    contents = read(tar_bytes([(f"{i}.{e}", b"x") for i in range(4) for e in ("jpg", "txt")]), 1, Reading())
    assert findings_of(contents) == []
    assert {sample.same_key for sample in samples_of(contents)} == {1}


def test_ranges_of_joined_samples_hold_about_as_many_bytes_as_asked_for():
    big = random.Random(0).randbytes(4000)
    tar = tar_bytes([(f"{i}.{e}", big) for e in ("a.jpg", "b.jpg", "c.jpg") for i in range(12)])
    with standing(tar) as shard:
        ranges = list(plan_ranges(shard, 40_000, reading=BY_KEY))
        taken = [sum(sample.span_bytes for sample in read_range(one).samples) for one in ranges]
    assert len(taken) == 4
    assert max(taken) <= 40_000 + 3 * 5120


@pytest.mark.parametrize("range_bytes", [1, WHOLE])
def test_a_sample_in_one_piece_that_the_end_cuts_fails_as_one_in_several_does(range_bytes):
    contents = read(without_end(tar_bytes([("a.jpg", b"x" * 600), ("b.jpg", b"y" * 600)]))[:-500], range_bytes)
    assert [(s.key, s.failure) for s in samples_of(contents)] == [
        ("a", None),
        ("b", 'truncated shard: member "jpg" is cut'),
    ]


@pytest.mark.parametrize("range_bytes", [1, WHOLE])
def test_of_a_cut_shard_the_samples_that_the_cut_hits_fail_and_the_break_is_told_once(range_bytes):
    tar = without_end(tar_bytes(APART))[:-700]
    contents = read(tar, range_bytes)
    assert len([error for one in contents for error in one.errors]) == 1
    failed = {sample.key: sample.failure for sample in samples_of(contents) if sample.failure}
    assert failed == {"7": 'truncated shard: member "txt" is cut'}


@pytest.mark.parametrize("compression", COMPRESSORS)
def test_what_stands_before_the_cut_of_a_compressed_shard_is_read_also_where_all_of_it_is_looked_through(compression):
    noise = random.Random(1).randbytes
    data = tar_bytes([*((f"{i}.jpg", noise(3000)) for i in range(100)), *((f"{i}.txt", b"c") for i in range(100))])
    packed = COMPRESSORS[compression](data)
    (content,) = read(packed[: len(packed) // 2])
    whole = {str(i): members_of(one)["jpg"] for i, one in enumerate(samples_of(read(data)))}
    good = [sample for sample in content.samples if not sample.failure]
    assert len(good) > 30
    assert all(members_of(sample)["jpg"] == whole[sample.key] for sample in good)
    assert "damaged" in content.errors[0].reason


@pytest.mark.parametrize("compression", COMPRESSORS)
def test_hard_links_back_into_a_compressed_shard_that_is_cut_are_what_they_link_to(compression):
    noise = random.Random(1).randbytes
    links = [Entry("link.jpg", type=tarfile.LNKTYPE, link="0.jpg"), ("link.txt", b"c")]
    files = [*((f"{i}.jpg", noise(3000)) for i in range(40)), *links, *((f"x{i}.jpg", noise(3000)) for i in range(60))]
    packed = COMPRESSORS[compression](tar_bytes(files))
    found = samples_of(read(packed[: 3 * len(packed) // 4], 50_000, Reading()))
    (linked,) = [sample for sample in found if sample.key == "link"]
    assert (linked.failure, members_of(linked)["jpg"]) == (None, files[0][1])
