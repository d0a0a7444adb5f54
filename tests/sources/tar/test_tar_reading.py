"""Reading against webdataset: the same samples for every split, and broken shards that say why."""

import io
import itertools
import random
import tarfile
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from beam_curator.errors import StorageError
from beam_curator.samples import Shard, ShardRange
from beam_curator.sources.tar import reading, span_reading
from beam_curator.sources.tar.headers import TarBroken
from beam_curator.sources.tar.planning import plan_ranges
from beam_curator.sources.tar.reading import read_range
from beam_curator.sources.tar.span_reading import coalesced, read_samples_at
from beam_curator.storage import files
from tests.examples import examples
from tests.tars import (
    COMPRESSORS,
    Entry,
    as_reference,
    expected,
    header,
    members_of,
    read_bytes,
    read_shard,
    standing,
    tar_bytes,
    webdataset_samples,
    without_end,
    write_shard,
)

SIZES = st.sampled_from([0, 0, 1, 100, 511, 512, 513, 1024, 10239, 10240, 10241])
KEYS = st.sampled_from(
    [
        "a",
        "b",
        "dir/a",
        "dir.x/b",
        "./c",
        "café",
        "caf\udce9",
        "日本/語",
        "k" * 90,
        "k" * 120,
        "deep/" * 30 + "k",
        "__m__",
    ]
)
EXTENSIONS = st.sampled_from(["jpg", "JPG", "txt", "json", "seg.png", "Ü", "\udcff", "e" * 110, "", "cls"])
INNER = tar_bytes([("inner.jpg", b"i" * 600), ("inner.txt", b"t")])


@st.composite
def contents(draw):
    size = draw(SIZES)
    return INNER if size == 100 else bytes([draw(st.integers(0, 255))]) * size


@st.composite
def entries(draw):
    key = draw(KEYS)
    files_of_key = st.builds(lambda e, data: Entry(f"{key}.{e}", data), EXTENSIONS, contents())
    others = st.sampled_from(
        [
            Entry("folder", type=tarfile.DIRTYPE),
            Entry("link.jpg", type=tarfile.SYMTYPE),
            Entry("hard.jpg", type=tarfile.LNKTYPE),
            Entry("null.jpg", type=tarfile.CHRTYPE),
            Entry("__index__.json", b"{}"),
            Entry("__meta__/a.jpg", b"m"),
            Entry("README", b"no extension"),
            Entry(".hidden", b"no key"),
            Entry("dir/.hidden.jpg", b"odd key"),
        ]
    )
    return draw(st.lists(st.one_of(files_of_key, files_of_key, files_of_key, others), max_size=5))


ARCHIVES = st.lists(entries(), max_size=8).map(lambda groups: [entry for group in groups for entry in group])
FORMATS = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
EVERY_SAMPLE, WHOLE = 1, 1 << 40
ODD = [
    Entry("a.jpg", b"1"),
    Entry("a.JPG", b"2"),
    Entry("b.jpg", b"3"),
    Entry("a.txt", INNER),
    Entry("b.jpg", b""),
    Entry("b.txt", b"4"),
]


@pytest.mark.slow
@examples(250)
@given(ARCHIVES, FORMATS, st.one_of(st.integers(1, 2000), st.integers(1, 60_000)))
@example(ODD, tarfile.PAX_FORMAT, EVERY_SAMPLE)
@example(ODD, tarfile.GNU_FORMAT, WHOLE)
@example([], tarfile.PAX_FORMAT, EVERY_SAMPLE)
def test_for_every_split_the_samples_are_those_that_webdataset_reads_each_once_and_in_order(archive, format, size):
    data = tar_bytes(archive, format)
    samples, errors = read_bytes(data, size)
    assert errors == []
    assert as_reference(samples) == expected(webdataset_samples(data))


@examples(60)
@given(ARCHIVES, FORMATS, st.integers(1, 60_000), st.sampled_from(sorted(COMPRESSORS)), st.booleans())
def test_compressed_shards_give_the_samples_that_webdataset_reads(archive, format, size, compression, lying):
    tar = tar_bytes(archive, format)  # webdataset does not know all of these compressions
    data = COMPRESSORS[compression](tar)
    samples, errors = read_bytes(data, size, "shard.tar" if lying else f"shard.tar.{compression}")
    assert errors == []
    assert as_reference(samples) == expected(webdataset_samples(tar))


def test_real_shards_are_read_as_webdataset_reads_them(shared):
    shards = sorted((shared / "data").glob("*.tar"))
    assert len(shards) == 4
    for path in shards:
        data = path.read_bytes()
        for size in (1, 20_000, WHOLE):
            samples, errors = read_shard(Shard(str(path), len(data)), size)
            assert errors == []
            assert as_reference(samples) == expected(webdataset_samples(data))


@examples(60)
@given(ARCHIVES, st.integers(1, 12_000))
def test_offsets_and_sizes_are_those_of_the_shard_and_not_of_the_range(archive, size):
    data = tar_bytes(archive)
    samples, _ = read_bytes(data, size)
    for sample in samples:
        for member in sample.members.values():
            assert data[member.offset : member.offset + member.size] == bytes(member.data)
            assert sample.offset < member.offset <= sample.offset + sample.span_bytes


THREE = [(f"{key}.{extension}", key.encode() * 700) for key in "abc" for extension in ("jpg", "txt")]
PLAIN = tar_bytes(THREE, tarfile.USTAR_FORMAT)  # each member takes 512 + 1024 bytes


@pytest.mark.parametrize("size", [EVERY_SAMPLE, WHOLE])
@pytest.mark.parametrize(
    ("cut", "whole", "failure", "offset", "reason"),
    [
        (4 * 1536 + 100, "ab", None, 4 * 1536, "truncated inside a header"),
        (3 * 1536 + 512 + 300, "a", 'truncated shard: member "txt" is cut', 3 * 1536 + 812, "truncated: a member ends"),
        (3 * 1536 + 512, "a", 'truncated shard: member "txt" is cut', 3 * 1536 + 512, "truncated: a member ends"),
        (4 * 1536 - 100, "ab", None, 4 * 1536 - 100, "truncated: a member ends after the end of the file"),
        (4 * 1536, "ab", None, 4 * 1536, "truncated at a member's end: no end-of-archive block"),
        (6 * 1536, "abc", None, 6 * 1536, "truncated at a member's end: no end-of-archive block"),
    ],
)
def test_of_a_truncated_shard_the_readable_samples_go_on_and_the_error_says_where_it_ends(
    size, cut, whole, failure, offset, reason
):
    samples, (error,) = read_bytes(PLAIN[:cut], size)
    assert [sample.key for sample in samples if not sample.failure] == list(whole)
    assert [sample.failure for sample in samples[len(whole) :]] == ([failure] if failure else [])
    assert error.offset == offset
    assert error.reason.startswith(reason)


@pytest.mark.parametrize("size", [EVERY_SAMPLE, WHOLE])
def test_wherever_a_shard_is_cut_whole_samples_are_whole_and_the_cut_is_never_silent(size):
    true = {r.key: r.members for r in webdataset_samples(PLAIN)}
    end = len(without_end(PLAIN))
    for cut in {*range(0, end + 1024, 97), *range(0, end + 1024, 512)}:
        samples, errors = read_bytes(PLAIN[:cut], size)
        usable = [sample for sample in samples if not sample.failure]
        assert [s.key for s in usable][: cut // 3072] == list("abc")[: cut // 3072]
        assert all(members_of(s).items() <= true[s.key].items() for s in usable)
        assert len(errors) == (0 if cut > end else 1)
        assert all(error.offset <= cut for error in errors)


def test_a_cut_member_whose_extension_is_not_utf8_has_a_reason_that_can_be_written():
    samples, _ = read_bytes(without_end(tar_bytes([("a.j\udcff", b"x" * 2000)], tarfile.GNU_FORMAT))[:1000])
    assert samples[0].failure == 'truncated shard: member "j\\xff" is cut'


@pytest.mark.parametrize("size", [EVERY_SAMPLE, WHOLE])
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (b"garbage!" * 64, "invalid header"),
        (header("b.jpg").replace(b"b.jpg", b"x.jpg"), "invalid header (bad checksum)"),
        (header("b.jpg", -1), "impossible size (-1 bytes)"),
        (header("b.jpg", 1 << 60), f"impossible size ({1 << 60} bytes)"),
    ],
)
def test_damage_between_members_ends_the_shard_there_and_what_came_before_goes_on(size, damage, reason):
    before = without_end(PLAIN)
    samples, (error,) = read_bytes(before + damage + before + bytes(1024), size)
    assert as_reference(samples) == expected(webdataset_samples(PLAIN))
    assert error.offset == len(before)
    assert reason in error.reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"<html>Access denied</html>", "truncated inside a header"),
        (b"<html>Access denied</html>" * 100, "not a tar header"),
        (random.Random(0).randbytes(5000), "not a tar header"),
        (b"\xff\xd8\xff\xe0" + bytes(3000), "not a tar header"),
    ],
)
def test_a_file_that_is_no_tar_gives_no_sample_and_one_error(data, reason):
    samples, (error,) = read_bytes(data)
    assert samples == []
    assert error.offset == 0
    assert error.reason.startswith(reason)


def test_an_archive_that_holds_nothing_is_no_error():
    assert read_bytes(tar_bytes([])) == ([], [])


NOISE = random.Random(1)
MANY = [(f"{i:03d}.jpg", NOISE.randbytes(3000)) for i in range(150)]
MANY_TAR = tar_bytes(MANY, tarfile.USTAR_FORMAT)  # each sample takes 3584 bytes


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0001, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("compression", COMPRESSORS)
def test_of_a_truncated_compressed_shard_the_readable_samples_go_on(compression, share):
    packed = COMPRESSORS[compression](MANY_TAR)
    samples, errors = read_bytes(packed[: max(11, int(len(packed) * share))], 100_000)
    usable = [sample for sample in samples if not sample.failure]
    assert [(s.key + ".jpg", members_of(s)["jpg"]) for s in usable] == MANY[: len(usable)]
    assert len(errors) == 1
    assert errors[0].reason.startswith(f"damaged {compression} stream: ")
    assert len(usable) * 3584 <= errors[0].offset < (len(usable) + 2) * 3584
    if compression == "gzip":
        readable = len(zlib.decompressobj(31).decompress(packed[: int(len(packed) * share)]))
        assert errors[0].offset == readable
        assert len(usable) == (readable + 72) // 3584  # the padding of the last one may be lost


@pytest.mark.parametrize("size", [pytest.param(EVERY_SAMPLE, marks=pytest.mark.slow), 100_000, WHOLE])
@pytest.mark.parametrize("compression", COMPRESSORS)
def test_of_a_damaged_compressed_shard_what_comes_before_the_damage_goes_on(compression, size):
    packed = bytearray(COMPRESSORS[compression](MANY_TAR))
    middle = len(packed) * 3 // 4
    packed[middle : middle + 64] = bytes(64)
    samples, (error,) = read_bytes(bytes(packed), size)
    usable = {s.key + ".jpg": members_of(s)["jpg"] for s in samples if not s.failure}
    intact = [name for name, data in MANY if usable.get(name) == data]
    assert error.reason.startswith(f"damaged {compression} stream: ")
    assert intact[:60] == [name for name, _ in MANY[:60]]


def test_a_wrong_checksum_at_the_end_of_a_gzip_stream_is_told_though_all_samples_are_read():
    packed = bytearray(COMPRESSORS["gzip"](MANY_TAR))
    packed[-8] ^= 1
    samples, (error,) = read_bytes(bytes(packed), 100_000)
    assert as_reference(samples) == expected(webdataset_samples(MANY_TAR))
    assert error.offset == len(MANY_TAR)
    assert "CRC check failed" in error.reason


@examples(40)
@given(st.integers(0, 12_000), st.integers(0, 255), st.sampled_from(sorted(COMPRESSORS)))
def test_one_wrong_byte_in_a_compressed_shard_never_crashes_and_is_never_silent(position, value, compression):
    packed = bytearray(COMPRESSORS[compression](tar_bytes(MANY[:4])))
    position %= len(packed)
    if packed[position] == value:
        return
    packed[position] = value
    samples, errors = read_bytes(bytes(packed), 5000)
    intact = as_reference(samples) == [(name[:-4], [("jpg", data)]) for name, data in MANY[:4]]
    assert errors or intact


@pytest.mark.parametrize("compression", ["", "gzip"])
def test_a_sample_over_the_limit_is_failed_and_the_others_are_read(monkeypatch, compression):
    monkeypatch.setattr(reading, "MAX_SAMPLE_BYTES", 4096)
    data = tar_bytes([("a.jpg", b"1" * 1000), ("b.jpg", b"2" * 9000), ("c.jpg", b"3" * 1000), ("c.txt", b"4")])
    samples, errors = read_bytes(COMPRESSORS[compression](data) if compression else data)
    assert errors == []
    assert [(s.key, s.failure) for s in samples] == [
        ("a", None),
        ("b", f"sample of {512 + 9216} bytes is over the limit of 4096"),
        ("c", None),
    ]
    assert members_of(samples[2]) == {"jpg": b"3" * 1000, "txt": b"4"}
    assert samples[1].members["jpg"].data is None


@examples(60)
@given(ARCHIVES, st.integers(0, 30_000), st.sampled_from(["", "gzip"]))
def test_reading_sample_by_sample_gives_what_reading_at_once_gives(archive, cut, compression):
    data = tar_bytes(archive)
    data = data[: max(1, len(data) - cut)]
    packed = COMPRESSORS[compression](data) if compression else data
    with standing(packed) as shard:
        whole = ShardRange(shard, 0, len(data), 0, last=True, compression=compression)
        with reading.open_tar(shard, compression) as tar:
            at_once = reading._read_at_once(tar, whole)
        with reading.open_tar(shard, compression) as tar:
            one_by_one = reading._read_sample_by_sample(tar, whole)
    assert at_once == one_by_one
    for first, second in zip(at_once[0], one_by_one[0], strict=True):
        assert [m.data for m in first.members.values()] == [m.data for m in second.members.values()]


def test_a_read_that_fails_for_a_moment_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    (whole,) = plan_ranges(write_shard(tmp_path / "a.tar", PLAIN), WHOLE)
    attempts = []

    def flaky(url, **_):
        attempts.append(url)
        if len(attempts) < 3:
            raise OSError("connection reset")
        return io.FileIO(url)

    monkeypatch.setattr(files.FileSystems, "open", flaky)
    samples, errors, _, _ = read_range(whole)
    assert len(attempts) == 3
    assert (len(samples), errors) == (3, [])


def test_a_range_whose_shard_is_gone_fails_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("waited for a file that is not there"))
    with pytest.raises(StorageError, match=r"cannot read .*gone\.tar: No such file"):
        read_range(ShardRange(Shard(str(tmp_path / "gone.tar"), 9), 0, 9, 0, last=True))


# read_samples_at


@pytest.mark.slow
@examples(100)
@given(st.data(), ARCHIVES, st.integers(1, 60_000), st.sampled_from(["", *COMPRESSORS]), st.integers(0, 4000))
def test_exactly_the_asked_samples_are_read_again(data, archive, size, compression, gap):
    tar = tar_bytes(archive)
    packed = COMPRESSORS[compression](tar) if compression else tar
    with pytest.MonkeyPatch.context() as patch, standing(packed) as shard:
        patch.setattr(span_reading, "COALESCED_GAP_BYTES", gap)
        patch.setattr(span_reading, "READ_BYTES", gap * 4)
        for one in plan_ranges(shard, size):
            samples = [s for s in read_range(one)[0] if not s.failure]
            chosen = [s for s in samples if data.draw(st.booleans())]
            again = list(read_samples_at(one, [(s.offset, s.span_bytes) for s in chosen]))
            assert again == chosen
            assert as_reference(again) == as_reference(chosen)


READ_BYTES = 8 << 20
SPANS = st.lists(st.tuples(st.integers(0, 600_000), st.integers(512, 3_000_000)), max_size=40)


@given(SPANS, st.sampled_from([span_reading.COALESCED_GAP_BYTES, span_reading.REQUESTED_GAP_BYTES]))
def test_reads_hold_all_spans_in_order_with_small_gaps_and_bounded_sizes(gaps_and_sizes, most):
    spans, position = [], 0
    for gap, size in gaps_and_sizes:
        spans.append((position + gap, size))
        position += gap + size
    groups = list(coalesced(spans, READ_BYTES, most))
    assert [span for group in groups for span in group] == spans
    for group in groups:
        begin, end = group[0][0], sum(group[-1])
        assert len(group) == 1 or end - begin <= READ_BYTES
        assert all(b[0] - sum(a) <= most for a, b in itertools.pairwise(group))
    for one, following in itertools.pairwise(groups):
        assert following[0][0] - sum(one[-1]) > most or sum(following[0]) - one[0][0] > READ_BYTES


class CountingFile(io.FileIO):
    bytes_read = 0

    def read(self, size=-1):
        data = super().read(size)
        CountingFile.bytes_read += len(data)
        return data


def test_about_the_bytes_of_the_asked_samples_are_read(tmp_path, monkeypatch):
    size = 600_000  # a gap of one such sample is too wide to read over
    data = tar_bytes([(f"{i}.jpg", bytes([i]) * size) for i in range(12)], tarfile.USTAR_FORMAT)
    (whole,) = plan_ranges(write_shard(tmp_path / "a.tar", data), WHOLE)
    samples = read_range(whole).samples
    monkeypatch.setattr(files.FileSystems, "open", lambda url, **_: CountingFile(url))
    monkeypatch.setattr(CountingFile, "bytes_read", 0)
    asked = [samples[index] for index in (1, 2, 7)]
    assert [s.key for s in read_samples_at(whole, [(s.offset, s.span_bytes) for s in asked])] == ["1", "2", "7"]
    assert CountingFile.bytes_read == sum(s.span_bytes for s in asked)


OTHERS = {
    "shorter": PLAIN[:1000],
    "garbage": random.Random(2).randbytes(len(PLAIN)),
    "other sizes": tar_bytes([("a.jpg", b"x"), ("b.jpg", b"y" * 9000)]),
    "zeros": bytes(len(PLAIN)),
    "empty": b"",
}


@pytest.mark.parametrize("compression", ["", "gzip"])
@pytest.mark.parametrize("now", OTHERS.values(), ids=OTHERS.keys())
def test_a_shard_that_has_changed_is_told_with_the_place(tmp_path, compression, now):
    pack = COMPRESSORS[compression] if compression else bytes
    (whole,) = plan_ranges(write_shard(tmp_path / "a.tar", pack(PLAIN)), WHOLE)
    second = read_range(whole)[0][1]
    write_shard(tmp_path / "a.tar", pack(now))
    with pytest.raises(TarBroken, match="the shard has changed since it was scored") as raised:
        list(read_samples_at(whole, [(second.offset, second.span_bytes)]))
    assert raised.value.offset >= second.offset


def test_a_compressed_shard_that_is_now_damaged_is_told_as_changed(tmp_path):
    packed = COMPRESSORS["gzip"](MANY_TAR)
    ranges = list(plan_ranges(write_shard(tmp_path / "a.tar", packed), 100_000))
    samples = read_range(ranges[-1]).samples
    write_shard(tmp_path / "a.tar", packed[: len(packed) // 2])
    with pytest.raises(TarBroken, match="the shard has changed since it was scored"):
        list(read_samples_at(ranges[-1], [(s.offset, s.span_bytes) for s in samples]))
