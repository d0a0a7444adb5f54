"""Kept samples are read while those before them are written: in order, one read at a time, faults where they belong."""

import gzip
import threading

import pytest

from beam_curator.sources.tar import span_reading
from beam_curator.sources.tar.headers import TarBroken
from beam_curator.sources.tar.planning import plan_ranges
from beam_curator.sources.tar.reading import read_range
from beam_curator.sources.tar.span_reading import read_samples_at
from tests.patience import HANG_SECONDS
from tests.tars import tar_bytes, write_shard


@pytest.fixture(params=["a.tar.gz", "a.tar"])
def one_range(request, tmp_path, monkeypatch):
    """A range of ten samples, of which each is a read of its own: of a compressed shard, in the background."""
    monkeypatch.setattr(span_reading, "READ_BYTES", 1)
    data = tar_bytes([(f"{i}.jpg", bytes([i]) * 600) for i in range(10)])
    shard = write_shard(tmp_path / request.param, gzip.compress(data) if request.param.endswith("gz") else data)
    return next(plan_ranges(shard, 1 << 30))


def spans_of(one):
    return [(sample.offset, sample.span_bytes) for sample in read_range(one)[0]]


@pytest.mark.parametrize("one_range", ["a.tar.gz"], indirect=True)
def test_the_next_read_is_under_way_before_the_samples_of_this_one_are_asked_for(one_range, monkeypatch):
    spans, begun, plain_read = spans_of(one_range), [], span_reading.bytes_at
    second = threading.Event()

    def watched(tar, range, start, length):
        begun.append(start)
        if len(begun) == 2:
            second.set()
        return plain_read(tar, range, start, length)

    monkeypatch.setattr(span_reading, "bytes_at", watched)
    samples = read_samples_at(one_range, spans)
    assert next(samples).offset == 0
    assert second.wait(HANG_SECONDS)
    assert [sample.offset for sample in samples] == [offset for offset, _ in spans[1:]]
    assert begun == [offset for offset, _ in spans]


def test_a_fault_comes_after_the_samples_that_were_read_before_it(one_range, monkeypatch):
    spans, plain_read = spans_of(one_range), span_reading.bytes_at

    def failing(tar, range, start, length):
        if start == spans[4][0]:
            raise OSError("the disk is gone")
        return plain_read(tar, range, start, length)

    monkeypatch.setattr(span_reading, "bytes_at", failing)
    samples = read_samples_at(one_range, spans)
    assert [next(samples).offset for _ in range(4)] == [offset for offset, _ in spans[:4]]
    with pytest.raises(OSError, match="the disk is gone"):
        next(samples)


def test_who_stops_early_leaves_no_thread_behind(one_range):
    spans, before = spans_of(one_range), threading.enumerate()
    samples = read_samples_at(one_range, spans)
    next(samples)
    samples.close()
    left = [thread for thread in threading.enumerate() if thread not in before]
    assert not [thread for thread in left if thread.name.startswith("read-ahead")]


def test_a_sample_that_is_gone_is_told_in_its_turn(one_range):
    spans = [*spans_of(one_range)[:3], (512, 512)]
    samples = read_samples_at(one_range, sorted(spans))
    assert next(samples).offset == 0
    with pytest.raises(TarBroken, match="changed since it was scored"):
        next(samples)


def test_nothing_wanted_is_nothing_read(one_range):
    assert list(read_samples_at(one_range, [])) == []
