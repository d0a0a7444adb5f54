"""How often storage is asked, and for how many bytes: planning, scoring and copying one shard."""

import math
import random

import pytest

from beam_curator.output.plans import KeptPlans
from beam_curator.samples import Shard
from beam_curator.sources.tar.planning import plan_ranges
from beam_curator.sources.tar.reading import read_range
from beam_curator.sources.tar.span_reading import read_samples_at
from beam_curator.storage.buckets.objects import FIRST_WINDOW_BYTES, LAST_WINDOW_BYTES
from tests.tars import COMPRESSORS, tar_bytes


def shard_of(members, size):
    """A tar of so many samples, each an image of this size and a caption."""
    rng = random.Random(members)
    entries = []
    for index in range(members):
        entries += [(f"{index:05d}.jpg", rng.randbytes(size)), (f"{index:05d}.txt", b"a caption")]
    return tar_bytes(entries)


@pytest.fixture
def stored(service, bucket):
    """Puts a shard into the bucket, as planning finds it there."""

    def put(content, name="a.tar"):
        service.put(f"{bucket}/{name}", content)
        service.proxy.reset()
        return Shard(f"{bucket}/{name}", len(content), "1")

    return put


def doublings_to(size):
    """Counts the windows up to this size at most, as they grow."""
    growing = int(math.log2(LAST_WINDOW_BYTES / FIRST_WINDOW_BYTES)) + 1
    return growing + size // LAST_WINDOW_BYTES


def test_a_shard_that_stays_whole_is_planned_in_one_small_request_and_read_in_one(service, stored):
    shard = stored(shard_of(30, 100_000))
    (range,) = plan_ranges(shard, 4 << 20)
    assert [one.sent_bytes for one in service.proxy.reads_of("a.tar")] == [FIRST_WINDOW_BYTES]
    assert service.proxy.counts() == {"GET": 1}
    service.proxy.reset()
    samples, errors, _, _ = read_range(range)
    assert (len(samples), errors) == (30, [])
    assert service.proxy.counts() == {"GET": 1}
    assert service.proxy.bytes_read("a.tar") == shard.size_bytes


def test_a_split_shard_is_planned_in_few_requests_and_each_byte_is_scored_once(service, stored):
    shard = stored(shard_of(120, 100_000))
    ranges = list(plan_ranges(shard, 2 << 20))
    assert len(ranges) == 6
    assert len(service.proxy.reads_of("a.tar")) <= doublings_to(shard.size_bytes)
    assert service.proxy.bytes_read("a.tar") <= shard.size_bytes
    service.proxy.reset()
    assert sum(len(read_range(range)[0]) for range in ranges) == 120
    assert service.proxy.counts() == {"GET": len(ranges)}
    assert service.proxy.bytes_read("a.tar") == shard.size_bytes


@pytest.mark.parametrize("compression", ["", "gzip"])
def test_a_shard_that_was_planned_before_is_not_read_to_be_planned_again(service, stored, compression):
    data = shard_of(120, 100_000)
    shard = stored(COMPRESSORS[compression](data) if compression else data)
    plans = KeptPlans(f"{shard.url.rpartition('/')[0]}/out")
    ranges = list(plan_ranges(shard, 2 << 20, plans))
    service.proxy.reset()
    assert list(plan_ranges(shard, 2 << 20, plans)) == ranges
    assert service.proxy.bytes_read("a.tar") == FIRST_WINDOW_BYTES
    assert len(service.proxy.exchanges) == 3  # the shard's beginning, whether there is a plan, and the plan


def test_planning_leaps_over_large_members(service, stored):
    shard = stored(shard_of(4, 6_000_000))
    assert len(list(plan_ranges(shard, 5_000_000))) == 4
    assert len(service.proxy.exchanges) <= 10
    assert service.proxy.bytes_read("a.tar") <= 10 * FIRST_WINDOW_BYTES


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "xz"])
def test_a_compressed_shard_is_streamed_once_to_plan_it_and_once_a_range(service, stored, compression):
    shard = stored(COMPRESSORS[compression](shard_of(20, 20_000)), f"a.tar.{compression}")
    (range,) = plan_ranges(shard, 4 << 20)
    for read in (lambda: None, lambda: read_range(range)):
        read()
        name = shard.url.rpartition("/")[2]
        assert len(service.proxy.reads_of("a.tar")) <= doublings_to(shard.size_bytes)
        assert service.proxy.bytes_read(name) == shard.size_bytes
        service.proxy.reset()


def test_the_sink_reads_about_the_bytes_that_it_keeps(service, stored):
    shard = stored(shard_of(120, 100_000))
    (range,) = plan_ranges(shard, 1 << 30)
    spans = [(sample.offset, sample.span_bytes) for sample in read_range(range)[0]]
    kept = [*spans[3:9], spans[60], spans[100]]
    service.proxy.reset()
    assert len(list(read_samples_at(range, kept))) == len(kept)
    assert service.proxy.counts() == {"GET": 3}
    assert service.proxy.bytes_read("a.tar") == sum(size for _, size in kept)


def test_neighbours_with_small_gaps_are_copied_in_one_request(service, stored):
    shard = stored(shard_of(40, 100_000))
    (range,) = plan_ranges(shard, 1 << 30)
    spans = [(sample.offset, sample.span_bytes) for sample in read_range(range)[0]]
    service.proxy.reset()
    assert len(list(read_samples_at(range, spans[::5]))) == 8
    assert service.proxy.counts() == {"GET": 1}
    assert service.proxy.bytes_read("a.tar") <= shard.size_bytes
