"""Work that goes on while the steps that follow are busy: what comes out, when, and in which window."""

import threading
from concurrent.futures import ThreadPoolExecutor

import apache_beam as beam
import pytest
from apache_beam.transforms.window import FixedWindows, TimestampedValue

from beam_curator import rows
from beam_curator.errors import StorageError
from beam_curator.output import job_input
from beam_curator.samples import SampleBatch, Shard, ShardRange
from beam_curator.sources.ranges import plan_ranges
from beam_curator.transforms import reading
from beam_curator.transforms.work_ahead import WorkAhead
from tests.eager import eager
from tests.patience import HANG_SECONDS
from tests.tars import tar_bytes


class Doubling(WorkAhead[int, int]):
    def setup(self):
        self._pool = ThreadPoolExecutor(1)

    def start(self, element):
        return self._pool.submit(lambda: 2 * element).result


class WithWindow(beam.DoFn):
    def process(self, element, window=beam.DoFn.WindowParam, timestamp=beam.DoFn.TimestampParam):
        yield element, float(timestamp), float(window.start)


@pytest.mark.parametrize("elements", [[], [1], [1, 2, 3, 4, 5]])
def test_every_element_comes_out_once(elements):
    assert eager(beam.ParDo(Doubling()), elements) == [2 * element for element in elements]


def test_every_element_keeps_its_own_time_and_window():
    doubled = eager(
        beam.Map(lambda second: TimestampedValue(second, second))
        | beam.WindowInto(FixedWindows(10))
        | beam.ParDo(Doubling())
        | beam.ParDo(WithWindow()),
        [1, 12, 25, 27],
    )
    assert sorted(doubled) == [(2, 1.0, 0.0), (24, 12.0, 10.0), (50, 25.0, 20.0), (54, 27.0, 20.0)]


BEGUN = {name: threading.Event() for name in "abc"}
WAITED: dict[str, bool] = {}
RANGE = ShardRange(Shard("a.tar", 1), 0, 1, 0, last=True)


def read_noted(range):
    BEGUN[range].set()
    yield SampleBatch(range, rows.from_samples(RANGE, [], []))


def wait_for_the_next(batch):
    range = batch.range
    following = chr(ord(range) + 1)
    WAITED[range] = BEGUN[following].wait(HANG_SECONDS) if following in BEGUN else True


def test_the_next_range_is_read_while_the_one_before_is_worked_on(monkeypatch):
    """The step that follows does not go on before the next range's read has begun; without reading ahead it would
    wait in vain."""
    WAITED.clear()
    for begun in BEGUN.values():
        begun.clear()
    monkeypatch.setattr(reading, "_read_at_once", read_noted)
    monkeypatch.setattr(reading, "_count_read", lambda range, seconds: None)
    eager(beam.ParDo(reading._ReadRanges()) | beam.Map(wait_for_the_next), list("abc"))
    assert WAITED == {"a": True, "b": True, "c": True}


def test_a_range_that_cannot_be_read_fails_the_job_with_its_own_error(tmp_path, small_jpeg):
    shard = tmp_path / "a.tar"
    shard.write_bytes(tar_bytes([("a.jpg", small_jpeg)]))
    (planned,) = plan_ranges(job_input.match_shards([str(shard)])[0], 1 << 20)
    shard.unlink()
    pipeline = beam.Pipeline("FnApiRunner")
    pipeline | beam.Create([planned]) | reading.ReadRanges()
    with pytest.raises((StorageError, RuntimeError), match=r"cannot .*a\.tar"):
        pipeline.run()


def test_what_is_read_is_told_to_be_batches():
    pipeline = beam.Pipeline("FnApiRunner")
    batches = pipeline | beam.Create([]) | reading.ReadRanges()
    assert batches.element_type is SampleBatch
