"""Large ranges in pieces: joined they are what a range is that is read at once, and few of their bytes are held."""

import dataclasses
import errno
import json
import random
import weakref

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import beam_curator as bc
from beam_curator.errors import CurationError, JobError
from beam_curator.output.job_input import match_input
from beam_curator.reading import Reading
from beam_curator.samples import Shard, ShardRange
from beam_curator.sources import pieces, ranges
from beam_curator.sources.joined_pieces import JoinedPieces
from beam_curator.sources.listing import Entry as Listed
from beam_curator.sources.listing import packed
from beam_curator.sources.pieces import PieceOfRange, read_batches
from beam_curator.sources.records import Record
from beam_curator.sources.sample_batches import read_batch
from beam_curator.sources.source import Rows, UnreadableShard
from beam_curator.sources.tar import reading, streaming
from beam_curator.sources.tar.planning import plan_ranges
from beam_curator.storage.open_files import NamedReader
from beam_curator.transforms import clip_handler, embedding
from beam_curator.transforms.reading import JoinRanges, ReadRanges
from beam_curator.transforms.wire_format import encode_batch
from tests.eager import eager
from tests.examples import examples
from tests.tars import COMPRESSORS, Entry, standing, tar_bytes, write_shard

NOISE = random.Random(7)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Pieces of some kilobytes."""
    monkeypatch.setattr(pieces, "PIECES_ABOVE_BYTES", 0)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 4000)
    monkeypatch.setattr(streaming, "CHUNK_BYTES", 1500)


def joined(range):
    whole, joining = None, JoinedPieces()
    for piece in read_batches(range):
        assert whole is None
        whole = joining.add(piece) if isinstance(piece, PieceOfRange) else piece
    joining.check_whole()
    return whole


def told(sample):
    return (sample, sample.same_key, sample.headers_crc32, sample.failure, sample.extents)


def assert_same(range):
    at_once, in_pieces = read_batch(range), joined(range)
    assert list(map(told, in_pieces.samples)) == list(map(told, at_once.samples))
    assert in_pieces.rows.schema.equals(at_once.rows.schema, check_metadata=True)
    assert in_pieces.rows.equals(at_once.rows)
    for name in ("range", "errors", "passed_over", "findings", "fields"):
        assert getattr(in_pieces, name) == getattr(at_once, name), name
    return len(list(read_batches(range)))


def samples(count, size=1000, **others):
    entries = []
    for index in range(count):
        key = f"{index:04d}"
        record = {"url": f"https://x.org/{key}", "n": index if index < count // 2 else f"no {index}", "deep": {"a": 1}}
        entries += [(f"{key}.jpg", NOISE.randbytes(size)), (f"{key}.json", json.dumps(record | others).encode())]
    return entries


def test_where_the_first_piece_computed_nothing_the_others_tell_the_precision(tmp_path):
    shard = write_shard(tmp_path / "a.tar", tar_bytes(samples(12)))
    (whole,) = plan_ranges(shard, 1 << 30)
    found = list(read_batches(whole))
    assert len(found) > 2
    precisions = ["auto", *["bf16"] * (len(found) - 1)]
    joining = JoinedPieces()
    for piece, precision in zip(found, precisions, strict=True):
        at_once = joining.add(piece.replace(models={"embedding": bc.ModelIdentity("tiny", precision=precision)}))
    assert at_once.models["embedding"].precision == "bf16"


READINGS = [Reading(), Reading(group_by_key=True), Reading(carry=()), Reading(several_images="all")]
LINKS = [Entry(f"{1000 + i}.jpg", type=b"1", link=f"{i:04d}.jpg") for i in (1, 3)]
TARS = {
    "plain": tar_bytes(samples(20)),
    "longer names": tar_bytes([(f"{'d' * 150}/{name}", data) for name, data in samples(9)]),
    "keys that come again": tar_bytes([*samples(9), *samples(12), ("0003.txt", b"x"), ("0004.cls", b"y")]),
    "members apart": tar_bytes([*((n, d) for n, d in samples(12) if "json" in n), *samples(12)[::2]]),
    "hard links": tar_bytes([*samples(12), *LINKS, *samples(3, size=700)]),
    "dots and directories": tar_bytes([*samples(9), Entry("d", type=b"5"), (".x", b"1" * 5000), *samples(9)]),
    "names with dots": tar_bytes([(f"IMG.{i:04d}.jpg", NOISE.randbytes(900)) for i in range(20)]),
    "cut in a member": tar_bytes(samples(20))[:30_100],
    "cut in a header": tar_bytes(samples(20))[: 512 * 41 + 100],
    "no end": tar_bytes(samples(20))[: 20 * (512 + 1024 + 512 + 512)],
    "damaged": tar_bytes(samples(9))[: 9 * 2560] + b"\1" * 2000 + tar_bytes(samples(9)),
    "two tars": tar_bytes(samples(9)) + tar_bytes(samples(9)),
    "zeros behind": tar_bytes(samples(9)) + bytes(30_000),
    "no tar": b"<html>" + NOISE.randbytes(20_000),
    "broken json": tar_bytes([*samples(5), ("z.jpg", b"z"), ("z.json", b"{"), *samples(5, more="x" * 70_000)]),
    "one sample": tar_bytes(samples(1, size=9000)),
    "nothing": tar_bytes([]),
}


@pytest.mark.parametrize(
    "compression", ["", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gzip", "zstd"))]
)
@pytest.mark.parametrize("kind", TARS)
def test_pieces_of_a_tar_are_the_range_that_is_read_at_once(kind, compression):
    data = COMPRESSORS[compression](TARS[kind]) if compression else TARS[kind]
    if compression and kind.startswith("cut"):
        data = data[: 2 * len(data) // 3]
    counts = []
    with standing(data) as shard:
        for how in READINGS:
            for range_bytes in (1 << 40, 20_000):
                counts += [assert_same(one) for one in plan_ranges(shard, range_bytes, None, how)]
    assert max(counts) > 2 or kind in ("no tar", "one sample", "nothing", "names with dots") or compression


@examples(60)
@given(st.data())
def test_pieces_of_a_spoiled_tar_are_the_range_that_is_read_at_once(data):
    tar = bytearray(TARS[data.draw(st.sampled_from(sorted(TARS)))])
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, max(0, len(tar) - 1)))
        tar[at : at + 4] = data.draw(st.binary(min_size=4, max_size=4))
    cut = data.draw(st.integers(0, 5000))
    packed = data.draw(st.sampled_from(["", "gzip"]))
    spoiled = bytes(tar[: len(tar) - cut])
    with standing(COMPRESSORS[packed](spoiled) if packed else spoiled) as shard:
        for one in plan_ranges(shard, 1 << 40):
            assert_same(one)


def test_a_sample_over_the_limit_is_failed_and_its_neighbours_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_SAMPLE_BYTES", 4096)
    entries = [*samples(3), ("big.jpg", NOISE.randbytes(90_000)), *samples(3), ("two.jpg", NOISE.randbytes(3000))]
    data = tar_bytes([*entries, ("two.png", NOISE.randbytes(3000)), ("z.jpg", NOISE.randbytes(2000))])
    for compression in ("", "gzip"):
        shard = write_shard(tmp_path / "a.tar", COMPRESSORS[compression](data) if compression else data)
        (whole,) = plan_ranges(shard, 1 << 40)
        assert assert_same(whole) > 2
        assert [s.key for s in joined(whole).samples if s.failure] == ["big", "two"]


def test_a_cut_sample_that_claims_more_than_the_limit_is_called_the_same(tmp_path, monkeypatch):
    """What is told of its headers is part of its id."""
    monkeypatch.setattr(reading, "MAX_SAMPLE_BYTES", 60_000)
    data = tar_bytes([*samples(12), ("big.jpg", NOISE.randbytes(90_000))])[:40_000]
    (whole,) = plan_ranges(write_shard(tmp_path / "a.tar", data), 1 << 40)
    assert assert_same(whole) > 2
    assert [s.key for s in joined(whole).samples if s.failure] == ["big"]


@pytest.mark.parametrize(("kind", "reads"), [("members apart", 2), ("hard links", 1)])
def test_samples_that_stand_apart_are_read_many_at_a_time(kind, reads, monkeypatch):
    """Of a compressed shard each such read begins at its beginning: one a sample would take hours."""
    monkeypatch.setattr(reading, "LAID_BYTES", 20_000)
    asked, plain_read = [], reading.read_extents
    how = Reading(group_by_key=kind == "members apart")
    with standing(COMPRESSORS["gzip"](TARS[kind])) as shard:
        (whole,) = plan_ranges(shard, 1 << 40, None, how)
        monkeypatch.setattr(reading, "read_extents", lambda *given: asked.append(given) or plain_read(*given))
        found = joined(whole)
        monkeypatch.setattr(reading, "read_extents", plain_read)
        assert_same(whole)
    assert len(asked) == reads < sum(bool(sample.extents) for sample in found.samples)


def test_hard_links_of_a_compressed_shard_that_is_cut_are_what_they_link_to(tmp_path):
    data = COMPRESSORS["gzip"](tar_bytes([*samples(5), *LINKS, *samples(20)]))
    (whole,) = plan_ranges(write_shard(tmp_path / "a.tar.gz", data[: 3 * len(data) // 4]), 1 << 40)
    assert assert_same(whole) > 2
    found = {sample.key: sample.failure for sample in joined(whole).samples}
    assert (found["1001"], found["1003"]) == (None, None)


def test_why_a_sample_has_no_image_names_a_key_that_stands_in_another_piece(tmp_path):
    data = tar_bytes([("a.txt", b"x"), *samples(12), ("a.jpg", b"y")])
    (whole,) = plan_ranges(write_shard(tmp_path / "a.tar", data), 1 << 40)
    model = bc.ClipModelHandler("tiny-untrained", precision="fp32", device="cpu")
    (in_pieces,) = eager(ReadRanges(in_pieces=True) | bc.EmbedImages(model) | JoinRanges(), [whole])
    at_once = embedding.embed_batch(read_batch(whole), model)
    assert "its key stands elsewhere in the shard too" in in_pieces.rows["reason"][0].as_py()
    assert in_pieces.rows.equals(at_once.rows)
    assert (in_pieces.embeddings == at_once.embeddings).all()


def parquet_of(path, count):
    images = [b"\xff\xd8\xff" + NOISE.randbytes(900) for _ in range(count)]
    table = pa.table({"image": images, "caption": [f"no {i}" for i in range(count)], "n": [*range(count)]})
    pq.write_table(table, path, row_group_size=7)


@pytest.mark.parametrize("kind", ["parquet", "folder"])
def test_pieces_of_other_input_are_the_range_that_is_read_at_once(kind, tmp_path, small_jpeg):
    place = tmp_path / "in"
    place.mkdir()
    if kind == "parquet":
        parquet_of(place / "a.parquet", 30)
    for index in range(30 if kind == "folder" else 0):
        (place / f"{index:03d}.jpg").write_bytes(small_jpeg + NOISE.randbytes(800))
        (place / f"{index:03d}.json").write_text(json.dumps({"n": index if index < 20 else "x"}))
    (shard,) = match_input([str(place)], input_format=kind).shards
    (whole,) = ranges.plan_ranges(shard, 1 << 40)
    assert assert_same(whole) > 3


class Own:
    endings = (".own",)

    def plan(self, shard, range_bytes):
        return [Rows(0, 20, 20_000)]

    def read(self, shard, rows):
        for row in rows:
            if row == GIVES[0]:
                raise UnreadableShard("cannot be understood")
            if row == GIVES[1]:
                return
            yield Record(f"{row:04d}", {"jpg": bytes([row]) * 1000})


GIVES = [None, None]


def test_a_range_of_files_of_unknown_size_is_read_in_pieces_that_are_small_in_truth(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "PIECES_ABOVE_BYTES", 80 << 20)
    for index in range(6):
        (tmp_path / f"{index}.jpg").write_bytes(NOISE.randbytes(3000))
    entries = [Listed(str(index), str(index), f"{tmp_path}/{index}.jpg") for index in range(6)]
    (range_,) = ranges.plan_ranges(Shard("list", 0, "1", format="list", listing=packed(entries)), 64 << 20)
    read = list(read_batches(range_))
    assert [len(piece) for piece in read] == [1] * 6
    assert encode_batch(joined(range_)) == encode_batch(read_batch(range_))


def test_a_shard_that_cannot_be_understood_to_its_end_has_no_samples(tmp_path, monkeypatch):
    monkeypatch.setattr(ranges, "source_of", lambda *_: Own())
    whole = ShardRange(dataclasses.replace(write_shard(tmp_path / "a.own", b"x"), format="own"), 0, 20, 0, last=True)
    monkeypatch.setattr(pieces, "is_in_pieces", lambda _: True)
    assert assert_same(whole) > 3
    monkeypatch.setattr(f"{__name__}.GIVES", [13, None])
    assert_same(whole)
    assert len(joined(whole)) == 0
    monkeypatch.setattr(f"{__name__}.GIVES", [None, 13])
    with pytest.raises(JobError, match="its source gave 13 records for 20 rows"):
        joined(whole)


def test_storage_that_fails_in_the_middle_is_asked_again_and_nothing_is_read_twice(tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    (whole,) = plan_ranges(write_shard(tmp_path / "a.tar", TARS["plain"]), 1 << 40)
    asked, plain_read = [], NamedReader.read

    def failing(self, size=-1):
        asked.append(self.tell())
        if len(asked) % 4 == 3:
            raise OSError(errno.ECONNRESET, "connection reset")
        return plain_read(self, size)

    monkeypatch.setattr(NamedReader, "read", failing)
    found = joined(whole)
    monkeypatch.setattr(NamedReader, "read", plain_read)
    assert list(map(told, found.samples)) == list(map(told, read_batch(whole).samples))
    assert len(asked) > 20


def test_a_shard_that_cannot_be_opened_at_first_is_asked_again(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    opened, plain_open = [], streaming.open_tar

    def failing(*given):
        opened.append(given)
        if len(opened) % 2:
            raise OSError(errno.ECONNRESET, "connection reset")
        return plain_open(*given)

    with standing(COMPRESSORS["gzip"](TARS["members apart"])) as shard:
        (whole,) = plan_ranges(shard, 1 << 40, None, Reading(group_by_key=True))
        monkeypatch.setattr(streaming, "open_tar", failing)
        found = joined(whole)
        assert list(map(told, found.samples)) == list(map(told, read_batch(whole).samples))
    assert len(opened) > 1


HELD: list[int] = []
READ: list = []


def noting_what_is_read(shifted, buffer, start, plain=reading.with_data):
    found = plain(shifted, buffer, start)
    READ.append((weakref.ref(next(iter(found.members.values()))), len(buffer)))
    return found


def held_bytes():
    """Counts the bytes of samples that are in memory now."""
    return sum(size for member, size in READ if member() is not None)


@pytest.mark.slow
def test_a_worker_holds_bytes_of_some_pieces_however_large_the_range_is(tmp_path, monkeypatch, small_jpeg):
    """One is being read, one is read, Beam batches one, one is embedded, and one is waited for; and what of the one
    before is not gone yet."""
    monkeypatch.setattr(pieces, "PIECE_BYTES", 12_000)
    monkeypatch.setattr(reading, "with_data", noting_what_is_read)
    most = {}
    for count in (20, 200):
        entries = [(f"{i:04d}.jpg", small_jpeg + NOISE.randbytes(900)) for i in range(count)]
        shards = [write_shard(tmp_path / f"{count}-{index}.tar", tar_bytes(entries)) for index in range(2)]
        given = [one for shard in shards for one in plan_ranges(shard, 1 << 40)]
        HELD.clear()
        plain = clip_handler.submit_batch
        monkeypatch.setattr(
            clip_handler, "submit_batch", lambda *given, plain=plain: HELD.append(held_bytes()) or plain(*given)
        )
        model = bc.ClipModelHandler("tiny-untrained", precision="fp32", device="cpu")
        batches = eager(ReadRanges(in_pieces=True) | bc.EmbedImages(model) | JoinRanges(), given)
        monkeypatch.setattr(clip_handler, "submit_batch", plain)
        assert [len(batch) for batch in batches] == [count, count]
        assert len(HELD) > count / 5
        most[count] = max(HELD)
    assert 0 < most[20] <= 7 * pieces.PIECE_BYTES
    assert 0 < most[200] <= 7 * pieces.PIECE_BYTES < given[0].size_bytes / 6


def test_pieces_are_joined_in_their_order_or_not_at_all(tmp_path):
    (whole,) = plan_ranges(write_shard(tmp_path / "a.tar", TARS["plain"]), 1 << 40)
    first, second, *_ = found = list(read_batches(whole))
    assert all(isinstance(piece, PieceOfRange) for piece in found)
    for some in ([second], [first, first], [first]):
        with pytest.raises((CurationError, RuntimeError), match="must stay fused"):
            eager(beam.Map(lambda index, some=some: some[index]) | JoinRanges(), [*range(len(some))])
    with pytest.raises(CurationError, match="must stay fused"):
        encode_batch(first)
