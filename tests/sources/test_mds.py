"""MDS shards with images: planned and read by place, each sample accounted for."""

import bz2
import gzip
import io
import json
import lzma
import struct
import tarfile

import lz4.frame
import numpy as np
import pytest
from apache_beam.io.filesystem import FileMetadata
from backports import zstd
from PIL import Image

from beam_curator.commands import curate_images, verify_output
from beam_curator.errors import UsageError
from beam_curator.output.job_input import match_input, match_shards, shards_of
from beam_curator.reading import Reading
from beam_curator.samples import Shard
from beam_curator.sources.input_formats import format_of
from beam_curator.sources.no_samples import refuse_what_holds_none
from beam_curator.sources.ranges import plan_ranges, read_range
from tests.integration.integration_content import ledger

SIZES = {"int": 8, "float32": 4, "uint8": 1}
JPEG = b"\xff\xd8\xff" + bytes(500)


def mds_bytes(columns, rows):
    """A shard as MosaicML's writer lays it out: each value of a row is encoded already."""
    names = sorted(columns)
    sizes = [SIZES.get(columns[name]) for name in names]
    told = {
        "column_encodings": [columns[name] for name in names],
        "column_names": names,
        "column_sizes": sizes,
        "format": "mds",
        "version": 2,
    }
    config = json.dumps(told).encode()
    samples = []
    for row in rows:
        free = [len(row[name]) for name, size in zip(names, sizes, strict=True) if size is None]
        samples.append(struct.pack(f"<{len(free)}I", *free) + b"".join(row[name] for name in names))
    offsets = [4 + 4 * (len(rows) + 1) + len(config)]
    for sample in samples:
        offsets.append(offsets[-1] + len(sample))
    return struct.pack(f"<{len(offsets) + 1}I", len(rows), *offsets) + config + b"".join(samples)


COLUMNS = {
    **{"image": "jpeg:90", "caption": "str", "similarity": "float32", "label": "int", "meta": "json"},
    **{"uid": "str_int", "latent": "ndarray:float16", "thumb": "bytes"},
}


def row(number):
    return {
        "image": JPEG + bytes([number]),
        "caption": f"föx {number}".encode(),
        "similarity": struct.pack("<f", 0.5),
        "label": struct.pack("<q", -number),
        "meta": b'{"a": [1]}',
        "uid": b"7",
        "latent": b"\x01",
        "thumb": b"x",
    }


def jpeg(shade):
    file = io.BytesIO()
    Image.new("RGB", (70, 70), (shade, 255 - shade, 90)).save(file, "JPEG")
    return file.getvalue()


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return Shard(str(path), len(data), "1", format="mds")


def read(shard, range_bytes=1 << 30, reading=None):
    ranges = list(plan_ranges(shard, range_bytes, None, reading or Reading()))
    contents = [read_range(one) for one in ranges]
    return ranges, [s for one in contents for s in one.samples], [e for one in contents for e in one.errors]


def members(sample):
    return {name: bytes(member.data) for name, member in sample.members.items()}


def test_a_sample_has_its_image_caption_and_fields(tmp_path):
    _, samples, errors = read(write(tmp_path / "shard.00000.mds", mds_bytes(COLUMNS, [row(0), row(1)])))
    assert not errors
    assert [(s.key, s.offset, s.failure) for s in samples] == [
        ("shard.00000/00000000", 0, None),
        ("shard.00000/00000001", 1, None),
    ]
    found = members(samples[1])
    assert list(found) == ["jpg", "txt", "json"]
    assert found["jpg"] == JPEG + b"\x01"
    assert found["txt"].decode() == "föx 1"
    assert json.loads(found["json"]) == {"label": -1, "meta": {"a": [1]}, "similarity": 0.5, "uid": 7}


def test_ranges_are_runs_of_samples_and_each_reads_only_its_own(tmp_path):
    shard = write(tmp_path / "shard.00000.mds", mds_bytes(COLUMNS, [row(number) for number in range(10)]))
    ranges, samples, _ = read(shard, range_bytes=1300)
    assert [(one.start, one.end) for one in ranges] == [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10)]
    assert [s.offset for s in samples] == list(range(10))
    assert [members(s)["jpg"][-1] for s in samples] == list(range(10))
    assert len(read(shard, range_bytes=1)[0]) == 10


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data[:3], "is no MDS shard: "),
        (lambda data: b"\xff" * 4 + data[4:], "is no MDS shard: it is too short for the 4,294,967,295 samples"),
        (lambda data: data[:4] + b"\xff\xff\xff\x7f" + data[8:], "is no MDS shard: its samples do not follow"),
        (lambda data: data.replace(b"column_sizes", b"column_sizen"), "is no MDS shard: 'column_sizes'"),
        (lambda data: data.replace(b"null", b"nul]"), "is no MDS shard: "),
        (lambda data: mds_bytes(COLUMNS, []), "has no rows"),
        (lambda data: mds_bytes({"caption": "str"}, [{"caption": b"a"}]), "has no column of image bytes"),
        (lambda data: mds_bytes({"a": "jpeg", "b": "png"}, [{"a": JPEG, "b": JPEG}]), "may be images, a, b: give --im"),
        (lambda data: struct.pack("<3I", 1, 1 << 30, 1 << 30) + data, "of its columns is more than 16777216 bytes"),
        (lambda data: data.replace(b'"thumb"', b'"label"'), "is no MDS shard: two of its columns have one name"),
        (lambda data: mds_bytes({"\ud800": "jpeg"}, [{"\ud800": JPEG}]), "is no MDS shard: 'utf-8' codec can't encode"),
        (
            lambda data: mds_bytes({"image": "pil", "n": "int"}, [{"image": b"x", "n": bytes(8)}]),
            "its columns are n (int64); and, encoded in ways that are not read, image (pil)",
        ),
    ],
    ids=[
        *("cut", "huge", "backwards", "undescribed", "no json", "empty", "no image", "two images"),
        *("endless", "one name", "half a character", "raw pixels"),
    ],
)
def test_what_is_no_such_shard_is_told(tmp_path, change, said):
    shard = write(tmp_path / "shard.00000.mds", change(mds_bytes(COLUMNS, [row(0)])))
    _, samples, errors = read(shard)
    assert not samples
    assert said in str(errors[0])


def test_samples_that_are_damaged_fail_by_themselves(tmp_path):
    data = mds_bytes(COLUMNS, [row(0), row(1), row(2)])
    _, samples, _ = read(write(tmp_path / "cut.mds", data[:-10]))
    assert [s.failure for s in samples] == [
        None,
        None,
        "damaged MDS shard: the sample is cut, or its columns do not fill it",
    ]
    longer = data.replace(struct.pack("<I", 504), struct.pack("<I", 505), 1)
    _, samples, _ = read(write(tmp_path / "sizes.mds", longer))
    assert [s.failure is None for s in samples] == [False, True, True]


def test_samples_that_are_gone_since_a_shard_was_planned_fail_by_themselves(tmp_path):
    data = mds_bytes(COLUMNS, [row(0), row(1)])
    shard = write(tmp_path / "shard.00000.mds", data)
    planned = next(iter(plan_ranges(shard, 1 << 30)))
    write(tmp_path / "shard.00000.mds", mds_bytes(COLUMNS, [row(0)]))
    found = [sample.failure for sample in read_range(planned).samples]
    assert found == [None, "damaged MDS shard: the sample is missing"]
    write(tmp_path / "shard.00000.mds", data[:4])
    assert "is no MDS shard: " in str(read_range(planned).errors[0])


COMPRESS = {
    **{".zstd": zstd.compress, ".zst": zstd.compress, ".gz": gzip.compress},
    **{".bz2": bz2.compress, ".xz": lzma.compress, ".lz4": lz4.frame.compress},
}


@pytest.mark.parametrize("ending", COMPRESS)
def test_a_compressed_shard_gives_what_it_holds(tmp_path, ending):
    data = mds_bytes(COLUMNS, [row(number) for number in range(5)])
    plain = read(write(tmp_path / "shard.00000.mds", data), 1300)
    ranges, samples, errors = read(write(tmp_path / f"shard.00000.mds{ending}", COMPRESS[ending](data)), 1300)
    assert [(one.start, one.end) for one in ranges] == [(one.start, one.end) for one in plain[0]]
    assert [(s.key, members(s)) for s in samples] == [(s.key, members(s)) for s in plain[1]]
    assert not errors


def test_what_stands_before_the_damage_of_a_compressed_shard_is_read(tmp_path):
    noise = np.random.default_rng(0).bytes(400_000)
    rows = [row(number) | {"image": JPEG + noise[80_000 * number :][:80_000]} for number in range(5)]
    data = zstd.compress(mds_bytes(COLUMNS, rows))
    _, samples, _ = read(write(tmp_path / "shard.00000.mds.zstd", data[: len(data) // 2]))
    assert [s.failure is None for s in samples] == [True, True, False, False, False]
    assert samples[2].failure.startswith("damaged MDS shard: damaged zstd stream: ")
    _, _, errors = read(write(tmp_path / "shard.00001.mds.zstd", data[:20]))
    assert "is no MDS shard: damaged zstd stream: " in str(errors[0])


def test_a_compressed_shard_takes_no_memory_for_samples_that_it_only_names(tmp_path):
    many = 1 << 30
    data = gzip.compress(struct.pack("<2I", many, 4 * (many % (1 << 28)) + 8))
    _, samples, errors = read(write(tmp_path / "shard.00000.mds.gz", data))
    assert not samples
    assert "it is too short for the 1,073,741,824 samples that it names" in str(errors[0])


@pytest.mark.parametrize("ending", ["br", "snappy"])
def test_a_compression_that_is_not_read_is_told_with_what_to_do(tmp_path, ending):
    write(tmp_path / f"shard.00000.mds.{ending}", b"anything")
    assert format_of([str(tmp_path)]) == "mds"
    shards = match_shards(str(tmp_path))
    with pytest.raises(UsageError, match=f"is compressed by {ending}, which is not read: decompress it"):
        refuse_what_holds_none(shards)


def test_columns_of_fixed_size_are_read_without_sizes(tmp_path, monkeypatch):
    monkeypatch.setitem(SIZES, "jpeg", len(JPEG))
    _, samples, _ = read(write(tmp_path / "fixed.mds", mds_bytes({"image": "jpeg"}, [{"image": JPEG}])))
    assert [members(sample) for sample in samples] == [{"jpg": JPEG}]


def test_files_that_a_pipeline_matched_are_told_by_their_names(tmp_path):
    write(tmp_path / "shard.00000.mds", b"")
    found = shards_of([FileMetadata(str(tmp_path / "shard.00000.mds"), 0, 0.0)])
    assert [shard.format for shard in found] == ["mds"]


def test_a_directory_of_them_is_told_by_its_files_also_below_and_beside_an_index(tmp_path):
    write(tmp_path / "d" / "train" / "shard.00000.mds", mds_bytes(COLUMNS, [row(0)]))
    (tmp_path / "d" / "train" / "index.json").write_text("{}")
    for name in ("d", "d/", "d/train/", "d/train/*.mds"):
        assert format_of([str(tmp_path / name)]) == "mds"
        assert [shard.format for shard in match_shards(str(tmp_path / name))] == ["mds"]
    with pytest.raises(UsageError, match="--group_by_key joins members of a tar, and this input is MDS"):
        match_input([str(tmp_path / "d")], reading=Reading(group_by_key=True))


@pytest.mark.slow
def test_a_whole_job_copies_them_bit_for_bit_and_resumes(tmp_path, capsys):
    columns = {"image": "jpeg", "caption": "str", "label": "int"}
    pictures = [jpeg(10 * number) for number in range(8)]
    rows = [
        {"image": picture, "caption": b"c", "label": struct.pack("<q", number)}
        for number, picture in enumerate(pictures)
    ]
    write(tmp_path / "raw" / "shard.00000.mds", mds_bytes(columns, rows[:4]))
    write(tmp_path / "raw" / "shard.00001.mds.zstd", zstd.compress(mds_bytes(columns, rows[4:])))
    output = tmp_path / "out"
    flags = ["--input", str(tmp_path / "raw"), "--output", str(output), "--clip_model", "tiny-untrained"]
    flags += ["--min_aesthetic", "none", "--max_nsfw", "none", "--range_mb", "0.001"]
    assert curate_images.main(flags) == 0
    assert curate_images.main([*flags, "--where", "json.label >= 2"]) == 0
    assert "(8 had been scored before)" in capsys.readouterr().out
    assert verify_output.main([str(output)]) == 0
    found = {one["key"]: one["json_label"] for one in ledger(output) if one["status"] == "kept"}
    assert sorted(found.values()) == [2, 3, 4, 5, 6, 7]
    with tarfile.open(output / "00000.tar") as tar:
        assert [tar.extractfile(one).read() for one in tar if one.name.endswith(".jpg")] == pictures[2:]
