"""Parquet files with images: planned by row groups, read row by row, each row accounted for."""

import datetime
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_curator.reading import Reading
from beam_curator.samples import Shard
from beam_curator.sources import parquet as parquet_source
from beam_curator.sources.choosing import source_of
from beam_curator.sources.ranges import plan_ranges, read_range, read_records_laid
from beam_curator.sources.records import bytes_of, laid, sample_of

JPEG, PNG = b"\xff\xd8\xff" + bytes(500), b"\x89PNG\r\n\x1a\n" + bytes(700)
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write(path, table, **options):
    pq.write_table(table, path, **options)
    return Shard(str(path), path.stat().st_size, "1", format="parquet")


def images(count):
    return pa.array([{"bytes": (JPEG, PNG)[i % 2] + bytes([i]), "path": f"p/{i}.jpg"} for i in range(count)], IMAGE)


def read(shard, range_bytes=1 << 30, reading=None):
    ranges = list(plan_ranges(shard, range_bytes, None, reading or Reading()))
    contents = [read_range(one) for one in ranges]
    return ranges, [s for one in contents for s in one.samples], [e for one in contents for e in one.errors]


def members(sample):
    return {name: bytes(member.data) for name, member in sample.members.items()}


def test_a_row_is_a_sample_with_its_image_caption_and_fields(tmp_path):
    table = pa.table(
        {
            "image": images(2),
            "caption": ["a föx", None],
            "similarity": [0.5, float("nan")],
            "taken": pa.array([datetime.date(2020, 1, 2), None]),
            "tags": [["x", "y"], []],
        }
    )
    _, samples, errors = read(write(tmp_path / "train-0.v2.parquet", table))
    assert not errors
    assert [(s.key, s.offset, s.failure) for s in samples] == [
        ("train-0.v2/00000000", 0, None),
        ("train-0.v2/00000001", 1, None),
    ]
    first, second = map(members, samples)
    assert list(first) == ["jpg", "txt", "json"]
    assert first["jpg"] == table["image"][0].as_py()["bytes"]
    assert first["txt"].decode() == "a föx"
    assert json.loads(first["json"]) == {
        "similarity": 0.5,
        "taken": "2020-01-02",
        "tags": ["x", "y"],
        "path": "p/0.jpg",
    }
    assert list(second) == ["png", "json"]
    assert json.loads(second["json"])["similarity"] is None


@pytest.mark.parametrize("type", [pa.binary(), pa.large_binary(), pa.dictionary(pa.int32(), pa.binary())], ids=str)
def test_bytes_are_kept_bit_for_bit_whatever_the_column_is(tmp_path, type):
    data = [JPEG, PNG, JPEG, b""]
    column = pa.array(data, pa.binary())
    table = pa.table({"jpg": column.dictionary_encode() if pa.types.is_dictionary(type) else column.cast(type)})
    _, samples, _ = read(write(tmp_path / "a.parquet", table))
    assert [bytes(next(iter(s.members.values())).data) for s in samples] == data


def test_ranges_are_runs_of_row_groups_and_large_groups_are_cut(tmp_path):
    table = pa.table({"image": images(40)})
    shard = write(tmp_path / "a.parquet", table, row_group_size=5, compression="none", use_dictionary=False)
    group_bytes = pq.read_metadata(shard.url).row_group(0).total_byte_size
    ranges, samples, _ = read(shard, int(2.5 * group_bytes))
    assert [(one.start, one.end) for one in ranges] == [(0, 10), (10, 20), (20, 30), (30, 40)]
    assert [one.last for one in ranges] == [False, False, False, True]
    cut, same, _ = read(shard, group_bytes // 8 + 1)
    assert {one.end - one.start for one in cut} <= {1, 2, 3}
    assert [one.start for one in cut[1:]] == [one.end for one in cut[:-1]]
    assert [members(s) for s in same] == [members(s) for s in samples]


def test_rows_that_have_no_image_fail_for_their_reason(tmp_path):
    rows = [None, {"bytes": None, "path": "away.jpg"}, {"bytes": JPEG, "path": None}]
    _, samples, _ = read(write(tmp_path / "a.parquet", pa.table({"image": pa.array(rows, IMAGE)})))
    assert [s.failure for s in samples] == [
        "null in the column image",
        "null in the column image, which has a path alone: --input_format list reads paths",
        None,
    ]


def test_other_columns_of_bytes_are_counted_as_passed_over(tmp_path):
    shard = write(tmp_path / "a.parquet", pa.table({"image": [JPEG] * 3, "mask": [PNG] * 3}))
    (content,) = map(read_range, plan_ranges(shard, 1 << 30))
    assert content.passed_over == {"column of bytes (mask)": 3}


def test_damage_inside_a_file_fails_its_rows_and_no_others(tmp_path):
    table = pa.table({"image": images(30)})
    shard = write(tmp_path / "a.parquet", table, row_group_size=10, compression="snappy", use_dictionary=False)
    column = pq.read_metadata(shard.url).row_group(1).column(0)
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    data[column.data_page_offset : column.data_page_offset + column.total_compressed_size] = (
        b"\xff" * column.total_compressed_size
    )
    (tmp_path / "a.parquet").write_bytes(data)
    _, samples, errors = read(shard)
    assert not errors
    assert [s.offset for s in samples] == list(range(30))
    assert [s.failure is None for s in samples] == [True] * 10 + [False] * 10 + [True] * 10
    assert samples[10].failure.startswith("damaged Parquet file: ")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda data: data[:-20], "is no whole Parquet file"),
        (lambda data: data[:3], "is no whole Parquet file"),
        (lambda data: data[:-4] + b"PARE", "is an encrypted Parquet file"),
    ],
    ids=["truncated", "stub", "encrypted"],
)
def test_a_file_without_a_footer_is_a_broken_shard(tmp_path, spoil, said):
    shard = write(tmp_path / "a.parquet", pa.table({"image": images(3)}))
    (tmp_path / "a.parquet").write_bytes(spoil((tmp_path / "a.parquet").read_bytes()))
    ranges, samples, (error,) = read(shard)
    assert [(one.start, one.end) for one in ranges] == [(0, 0)]
    assert samples == []
    assert said in error.reason


def test_a_file_without_rows_is_no_broken_one(tmp_path):
    _, samples, errors = read(write(tmp_path / "a.parquet", pa.table({"image": images(0)})))
    assert (samples, errors) == ([], [])


def written_once(value, rows):
    """A table that says in few bytes that all its rows have one value."""
    return pa.table({"image": pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([value]))})


def test_few_bytes_that_stand_for_many_fail_the_rows_that_would_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_source, "MAX_EXPANSION_BYTES", 5000)
    shard = write(tmp_path / "a.parquet", written_once(JPEG, 80), row_group_size=20)
    claimed = sum(pq.read_metadata(shard.url).row_group(group).total_byte_size for group in range(4))
    _, samples, _ = read(shard)
    good = [s.failure is None for s in samples].index(False)
    assert [s.failure is None for s in samples] == [True] * good + [False] * (80 - good)
    assert 5000 // len(JPEG) <= good <= (5000 + claimed) // len(JPEG)
    assert "expands to 5000 bytes more than it says" in samples[-1].failure


def test_a_value_that_all_rows_have_is_in_memory_for_one_of_them(tmp_path):
    value = bytes(4 << 20)
    table = written_once(value, 200)
    shard = write(tmp_path / "a.parquet", table, store_schema=False, dictionary_pagesize_limit=1 << 30)
    before, most = pa.total_allocated_bytes(), 0
    for record in source_of("parquet").read(shard, range(200)):
        assert len(record.members["jpg"]) == len(value)
        del record
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 10 * len(value)


def test_rows_whose_column_has_a_dictionary_do_not_each_decode_all_of_it(tmp_path, monkeypatch):
    captions = [f"caption {row}" for row in range(200)]
    table = pa.table({"image": images(200), "caption": pa.array(captions).dictionary_encode(), "n": range(200)})
    shard = write(tmp_path / "a.parquet", table, row_group_size=150)
    sizes = []
    iter_batches = pq.ParquetFile.iter_batches

    def noting(*given, **named):
        for batch in iter_batches(*given, **named):
            sizes.append((tuple(batch.schema.names), batch.num_rows))
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", noting)
    _, samples, _ = read(shard)
    assert [members(s)["txt"].decode() for s in samples] == captions
    assert [json.loads(members(s)["json"])["n"] for s in samples] == list(range(200))
    assert [size for names, size in sizes if names == ("caption",)] == [64, 64, 22, 50]
    assert [size for names, size in sizes if names == ("image", "n")] == [1] * 200


def test_more_rows_or_values_than_a_file_can_hold_are_a_broken_shard(tmp_path):
    nulls = pa.nulls(200_000, pa.binary())
    ranges, samples, (error,) = read(write(tmp_path / "a.parquet", pa.table({"image": nulls})))
    assert ([(one.start, one.end) for one in ranges], samples) == ([(0, 0)], [])
    assert error.reason.startswith("is no whole Parquet file: it claims 200,000 rows in ")
    lists = pa.array([[0] * 2_000_000])
    _, samples, (error,) = read(write(tmp_path / "b.parquet", pa.table({"image": [JPEG], "zeros": lists})))
    assert samples == []
    assert "it claims 2,000,000 values of a column in " in error.reason


def test_runs_have_so_many_rows_at_most_whatever_few_bytes_they_take(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_source, "MAX_RUN_ROWS", 10)
    shard = write(tmp_path / "a.parquet", pa.table({"image": images(34)}), row_group_size=25)
    ranges, samples, _ = read(shard)
    assert [(one.start, one.end) for one in ranges] == [(0, 8), (8, 16), (16, 25), (25, 34)]
    assert [s.offset for s in samples] == list(range(34))


def test_some_rows_are_read_again_as_they_were(tmp_path):
    shard = write(tmp_path / "a.parquet", pa.table({"image": images(30)}), row_group_size=7)
    (range_,) = plan_ranges(shard, 1 << 30)
    samples = read_range(range_).samples
    rows = [0, 6, 7, 13, 29]
    spans = laid(samples[row].span_bytes for row in rows)
    read = list(read_records_laid(range_, rows, spans))
    assert [span for group, _ in read for span in group] == spans
    data = b"".join(data for _, data in read)
    for row, (place, size) in zip(rows, spans, strict=True):
        (record,) = source_of("parquet").read(shard, [row])
        assert data[place : place + size] == bytes_of(record)
        assert sample_of(record, row) == samples[row]
        for member in samples[row].members.values():
            assert data[place + member.offset :][: member.size] == member.data


def test_dates_that_python_has_no_room_for_are_texts_and_fail_no_row(tmp_path):
    days = pa.array([10**9, 0], pa.date32())
    lists = pa.array([[10**9], [0]], pa.list_(pa.date32()))
    shard = write(tmp_path / "a.parquet", pa.table({"image": images(2), "date": days, "dates": lists}))
    _, samples, errors = read(shard)
    assert ([s.failure for s in samples], errors) == ([None, None], [])
    assert [json.loads(members(s)["json"]) for s in samples] == [
        {"date": "1000000000", "dates": None, "path": "p/0.jpg"},
        {"date": "1970-01-01", "dates": ["1970-01-01"], "path": "p/1.jpg"},
    ]


def test_columns_of_one_name_are_a_broken_shard(tmp_path):
    table = pa.Table.from_arrays([images(1), *[pa.array(["a"])] * 2], ["image", "x", "x"])
    _, samples, (error,) = read(write(tmp_path / "a.parquet", table))
    assert samples == []
    assert error.reason.startswith("has two columns of one name, which are not told apart; its columns are image (")
