"""Planning: ranges tile the shard, begin at samples, and are planned from headers alone."""

import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_curator.errors import StorageError
from beam_curator.samples import Shard
from beam_curator.sources.tar.grouping import group_samples
from beam_curator.sources.tar.headers import iter_headers
from beam_curator.sources.tar.planning import SMALL_SHARD_RATIO, cut_points, plan_ranges
from beam_curator.storage import files
from tests.examples import examples
from tests.tars import COMPRESSORS, header, read_shard, standing, tar_bytes, write_shard

MB = 1 << 20


def images(count, size=3000):
    return tar_bytes([(f"{i:04d}.jpg", bytes([i % 256]) * size) for i in range(count)])


@examples(60)
@given(st.lists(st.integers(0, 5000), max_size=20), st.integers(1, 20000))
def test_cuts_are_the_first_samples_at_or_after_the_range_size_from_the_cut_before(sizes, range_bytes):
    data = tar_bytes([(f"{i}.jpg", bytes(size)) for i, size in enumerate(sizes)])
    offsets = [sample.offset for sample in group_samples(iter_headers(io.BytesIO(data)))]
    cuts = cut_points(io.BytesIO(data), range_bytes)[0]
    start = 0
    for cut in cuts:
        assert cut == next(offset for offset in offsets if offset >= start + range_bytes)
        start = cut
    assert not [offset for offset in offsets if offset >= start + range_bytes]


def test_a_plain_shard_just_over_the_range_size_stays_whole_and_is_not_hopped_through():
    data = images(20)
    with standing(data) as shard:
        (whole,) = plan_ranges(shard, int(len(data) / SMALL_SHARD_RATIO) + 1)
        assert (whole.start, whole.end, whole.last) == (0, len(data), True)
        assert len(list(plan_ranges(shard, int(len(data) / SMALL_SHARD_RATIO) - 600))) == 2


@pytest.mark.parametrize("compression", COMPRESSORS)
@pytest.mark.parametrize("name", ["shard.tar", "shard.tar.gz", "shard.tgz", "shard.jpg"])
def test_compression_is_found_in_the_bytes_whatever_the_name_says(compression, name):
    with standing(COMPRESSORS[compression](images(30)), name) as shard:
        ranges = list(plan_ranges(shard, 30_000))
    assert {one.compression for one in ranges} == {compression}
    assert ranges[-1].end == len(images(30))
    assert len(ranges) > 2


def test_a_plain_tar_that_is_named_as_compressed_is_read_as_it_is():
    with standing(images(3), "shard.tar.gz") as shard:
        samples, errors = read_shard(shard)
    assert (len(samples), errors) == (3, [])


@pytest.mark.parametrize("name", ["BZh91AY.jpg", "BZh.jpg"])
def test_a_plain_tar_whose_first_name_begins_like_bzip2_is_read_as_it_is(name):
    with standing(tar_bytes([(name, b"x")])) as shard:
        samples, errors = read_shard(shard)
    assert (len(samples), errors) == (1, [])


def test_range_names_are_readable_file_names_unique_among_ranges_and_urls():
    with standing(images(30), "odd näme*.tar") as shard:
        ranges = list(plan_ranges(shard, 20_000))
    names = [one.name for one in ranges]
    assert len(set(names)) == len(names) > 1
    assert all(name.startswith("odd_n_me_-") and "/" not in name for name in names)
    (other,) = plan_ranges(Shard(__file__, 1), 1)
    assert other.name not in names


class CountingFile(io.FileIO):
    bytes_read = 0

    def readinto(self, buffer):
        count = super().readinto(buffer)
        CountingFile.bytes_read += count
        return count


def test_planning_a_large_plain_tar_reads_only_a_small_part_of_its_bytes(tmp_path, monkeypatch):
    path = tmp_path / "large.tar"
    with path.open("wb") as file:  # with holes where the images would be
        for index in range(100):
            file.write(header(f"{index:03d}.jpg", MB))
            file.seek(MB, os.SEEK_CUR)
        file.write(bytes(1024))
    monkeypatch.setattr(files.FileSystems, "open", lambda url, **_: io.BufferedReader(CountingFile(url)))
    monkeypatch.setattr(CountingFile, "bytes_read", 0)
    ranges = list(plan_ranges(Shard(str(path), path.stat().st_size), 8 * MB))
    assert len(ranges) == 13
    assert ranges[-1].end == path.stat().st_size
    assert 0 < CountingFile.bytes_read < path.stat().st_size / 50


def test_a_shard_that_is_gone_is_an_error_and_not_an_empty_plan(tmp_path):
    with pytest.raises(StorageError, match=r"cannot read .*gone\.tar: No such file"):
        list(plan_ranges(Shard(str(tmp_path / "gone.tar"), 10), 5))


def test_a_read_that_fails_for_a_moment_is_tried_again_while_planning(tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    shard = write_shard(tmp_path / "a.tar", images(20))
    attempts = []

    class Flaky(io.FileIO):
        def readinto(self, buffer):
            attempts.append(1)
            if len(attempts) == 3:
                raise OSError("connection reset")
            return super().readinto(buffer)

    monkeypatch.setattr(files.FileSystems, "open", lambda url, **_: io.BufferedReader(Flaky(url)))
    flaky = list(plan_ranges(shard, 20_000))
    monkeypatch.undo()
    assert flaky == list(plan_ranges(shard, 20_000))
    assert len(attempts) > 3
