"""Headers that would have tarfile take hours, all memory, or what is no header for one: bounded before it sees them."""

import gzip
import io
import lzma
import sys
import tarfile

import pytest
from backports import zstd

from beam_curator.sources.tar import reading
from beam_curator.sources.tar.compression import DamagedStreamError, decompressed, read_to_damage
from beam_curator.sources.tar.headers import TarBroken, iter_headers
from tests.patience import little_computing
from tests.tars import COMPRESSORS, header, members_of, read_bytes, tar_bytes, xz_that_claims_a_gigabyte

END = bytes(1024)
EVERY_SAMPLE, WHOLE = 1, 1 << 40


def member(name, data=b"", type=tarfile.REGTYPE):
    return header(name, len(data), type) + data + bytes(-len(data) % 512)


def pax(body, type=tarfile.XHDTYPE):
    return member("x", body, type)


BEFORE, AFTER = member("a.txt", b"1"), member("b.txt", b"2") + END
PATH = b"14 path=c.txt\n"


@pytest.mark.parametrize("size", [EVERY_SAMPLE, WHOLE])
def test_a_cut_after_a_global_header_does_not_break_the_shard(size):
    comment = pax(b"13 comment=x\n", tarfile.XGLTYPE)
    samples, errors = read_bytes(comment + BEFORE + comment + AFTER, size)
    assert errors == []
    assert [(s.key, s.offset) for s in samples] == [("a", 0), ("b", 2048)]
    assert members_of(samples[1]) == {"txt": b"2"}


@pytest.mark.parametrize("record", [PATH, b"10 size=1\n", b"20 linkpath=../../x\n", b"22 GNU.sparse.name=xy\n"])
@pytest.mark.parametrize("size", [EVERY_SAMPLE, WHOLE])
def test_a_global_header_that_renames_or_resizes_all_that_follows_ends_the_shard(record, size):
    samples, (error,) = read_bytes(BEFORE + pax(record, tarfile.XGLTYPE) + AFTER, size)
    assert [s.key for s in samples] == ["a"]
    assert (error.offset, error.reason.split(" that")[0]) == (len(BEFORE), "PAX global header")


HOSTILE = {
    "a keyword for each byte of a record": b"2 " * 100_000 + b"=",
    "digits that a search begins at each of": b"500013 comment=" + b"1" * 499_997 + b"\n",
    "a record longer than the header": b"99 path=c.txt\n",
    "a record without an end": b"13 path=c.txt",
    "a record of no length": b"0 path=c.txt\n",
    "a length that is no number": b"x path=c.txt\n",
    "a length of many digits": b"9" * 4000 + b" path=c.txt\n",
    "a record without a keyword": b"9 =c.txt\n",
    "a record without a value": b"8 path.\n",
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_pax_header_that_is_not_records_is_refused_at_once(body):
    with little_computing():
        samples, (error,) = read_bytes(BEFORE + pax(body) + AFTER)
    assert [s.key for s in samples] == ["a"]
    assert error.offset == len(BEFORE)
    assert "PAX" in error.reason


def test_a_pax_header_of_many_good_records_is_read():
    body = b"13 comment=x\n" * 1000 + PATH
    samples, errors = read_bytes(pax(body) + AFTER)
    assert errors == []
    assert [s.key for s in samples] == ["c"]


@pytest.mark.parametrize("size", [EVERY_SAMPLE, WHOLE])
def test_nothing_inside_a_header_that_is_too_long_is_taken_for_a_header(size):
    comment = b"x" * ((1 << 20) - 20) + member("smuggled.txt", b"!") * 4
    samples, (error,) = read_bytes(BEFORE + pax(b"%d comment=%s\n" % (len(comment) + 17, comment)) + AFTER, size)
    assert [s.key for s in samples] == ["a"]
    assert "header of more than 1048576 bytes" in error.reason


def test_a_long_name_that_looks_like_the_header_of_pax_records_is_a_name():
    name = "n" * 156 + "x" + "n" * 300 + ".txt"
    data = member("././@LongLink", name.encode().ljust(512, b"\0"), tarfile.GNUTYPE_LONGNAME) + AFTER
    samples, errors = read_bytes(data)
    assert errors == []
    assert [s.key for s in samples] == [name.removesuffix(".txt")]


def under(depth, function):
    """Calls a function with this many frames more on the stack."""
    return function() if depth == 0 else under(depth - 1, function)


@pytest.mark.parametrize("count", [16, 17, 200])
def test_how_many_extension_headers_an_entry_may_have_does_not_depend_on_who_asks(count):
    data = member("x", b"c.txt", tarfile.GNUTYPE_LONGNAME) * count + AFTER

    def outcome():
        try:
            return [one.name for one in iter_headers(io.BytesIO(data))]
        except TarBroken as broken:
            return broken.reason

    depth = sys.getrecursionlimit() - 400
    assert outcome() == under(depth, outcome)
    assert outcome() == (["c.txt"] if count == 16 else "not a tar header (more than 16 extension headers)")


@pytest.mark.slow
def test_a_sparse_map_is_read_no_further_than_a_megabyte():
    records = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n"
    numbers = (b"999999\n" + b"0\n" * 700_000).ljust(1_400_320, b"\0")
    samples, (error,) = read_bytes(BEFORE + pax(records) + member("s.txt", numbers) + AFTER)
    assert [s.key for s in samples] == ["a"]
    assert "header of more than 1048576 bytes" in error.reason


@pytest.mark.parametrize("size", [EVERY_SAMPLE, WHOLE])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_what_stands_after_the_end_of_the_archive_is_told_and_not_read(pack, size):
    archive = BEFORE + AFTER
    samples, (error,) = read_bytes(pack(archive + archive), size)
    assert [s.key for s in samples] == ["a", "b"]
    assert error.offset == len(archive) - len(END)
    assert error.reason.startswith("data after the end-of-archive block")
    assert read_bytes(pack(archive + bytes(10_240)), size)[1] == []


@pytest.mark.slow
def test_an_xz_header_may_not_claim_all_memory():
    samples, (error,) = read_bytes(xz_that_claims_a_gigabyte(BEFORE + AFTER))
    assert samples == []
    assert error.reason == "damaged xz stream: Memory usage limit exceeded"
    assert len(read_bytes(lzma.compress(BEFORE + AFTER, preset=9 | lzma.PRESET_EXTREME))[0]) == 2


@pytest.mark.parametrize("name", ["bzip2", "xz", "gzip", "zstd", "lz4"])
def test_streams_that_follow_each_other_are_one_and_damage_between_them_is_told(name):
    pack = COMPRESSORS[name]
    data = BEFORE + AFTER
    assert [s.key for s in read_bytes(pack(data[:700]) + pack(data[700:]))[0]] == ["a", "b"]
    damaged = pack(data[:1024]) + b"?" + pack(data[1024:])
    samples, (error,) = read_bytes(damaged)
    assert [s.key for s in samples] == ["a"]
    assert error.reason.startswith(f"damaged {name} stream")
    assert error.offset == 1024


def test_an_xz_file_may_be_padded_with_zeros():
    data = BEFORE + AFTER
    assert read_bytes(lzma.compress(data) + bytes(8))[1] == []
    assert len(read_bytes(lzma.compress(data[:1024]) + bytes(4) + lzma.compress(data[1024:]) + bytes(4))[0]) == 2


@pytest.mark.parametrize("compression", ["bzip2", "xz", "lzma", "zstd", "lz4"])
def test_a_compressed_file_can_be_read_from_anywhere(compression):
    data = bytes(range(256)) * 300
    packed = COMPRESSORS[compression](data)
    with decompressed(io.BytesIO(packed), compression) as file:
        for place in (0, 70_000, 5, 76_799, 76_800, 12):
            file.seek(place)
            assert file.read(9) == data[place : place + 9]
        file.seek(90_000)
        assert (file.read(1), file.tell()) == (b"", len(data))
    with decompressed(io.BytesIO(packed[:-9]), compression) as file:
        _, damage = read_to_damage(file, 1 << 20)
        assert isinstance(damage, DamagedStreamError)


def test_a_zstd_shard_that_wants_more_memory_than_is_given_is_broken_and_one_at_its_strongest_is_not():
    def packed(window_log):
        compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: window_log})
        return compressor.compress(BEFORE + AFTER) + compressor.flush()

    assert len(read_bytes(packed(27))[0]) == 2
    samples, (error,) = read_bytes(packed(30))
    assert samples == []
    assert error.reason.startswith("damaged zstd stream: ")


@pytest.mark.parametrize("name", ["zstd", "lz4"])
def test_frames_without_content_are_passed_over_wherever_they_stand(name):
    frame = b"\x50\x2a\x4d\x18" + (30).to_bytes(4, "little") + bytes(30)
    pack, data = COMPRESSORS[name], BEFORE + AFTER
    samples, errors = read_bytes(frame + frame + pack(data[:700]) + frame + pack(data[700:]) + frame, name="a.tar")
    assert ([s.key for s in samples], errors) == (["a", "b"], [])


@pytest.mark.parametrize("name", ["]", "](", "BZh91AY.jpg", "PK.jpg"])
def test_a_plain_tar_whose_first_name_begins_as_something_else_is_read_as_it_is(name):
    samples, errors = read_bytes(tar_bytes([(name, b"x"), ("a.jpg", b"y")]))
    assert (samples[-1].key, errors) == ("a", [])


def test_a_compressed_range_that_holds_more_than_is_likely_is_read_sample_by_sample(monkeypatch):
    monkeypatch.setattr(reading, "MAX_DECOMPRESSED_BYTES", 2000)
    samples, errors = read_bytes(gzip.compress(tar_bytes([("a.txt", b"1" * 900), ("b.txt", b"2")])))
    assert errors == []
    assert [members_of(s) for s in samples] == [{"txt": b"1" * 900}, {"txt": b"2"}]
