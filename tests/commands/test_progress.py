"""Progress: counts, and a line about them."""

import dataclasses
import functools
import io
import json
import threading
from collections import Counter

import pytest
from apache_beam.metrics import monitoring_infos
from apache_beam.metrics.execution import MetricKey, MetricResult
from apache_beam.metrics.metricbase import MetricName
from apache_beam.portability.api import beam_job_api_pb2
from apache_beam.runners.portability.portable_runner import PipelineResult

from beam_curator import progress
from beam_curator.commands import progress_line, running
from beam_curator.commands.progress_elsewhere import RunnersCounts, counts_of
from beam_curator.commands.progress_line import ProgressLine, describe, duration
from beam_curator.progress import Board, Done
from beam_curator.samples import Shard, ShardRange
from beam_curator.transforms.metrics import NAMESPACE
from tests.patience import HANG_SECONDS


def range_of(size, compression=""):
    return ShardRange(Shard("a.tar", size), 100, 100 + size, 0, last=True, compression=compression)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (42.4, "42s"),
        (59.6, "1m 00s"),
        (200, "3m 20s"),
        (3600, "1h 00m"),
        (7500, "2h 05m"),
        (360_000, "100h 00m"),
    ],
)
def test_durations_are_told_as_people_tell_them(seconds, text):
    assert duration(seconds) == text


def test_the_board_adds_up_what_is_scored_and_what_was_scored_before():
    board = Board()
    board.add(range_of(1000), samples=10, failed=1, scored=True)
    board.add(range_of(500), samples=5, failed=2, scored=False)
    board.add(range_of(9999, "gzip"), samples=1, failed=0, scored=True)
    board.add_output_shard(5)
    counts = {"ranges_scored": 3, "samples": 16, "failed": 3, "scored": 11, "bytes": 11499, "scored_bytes": 10999}
    assert board.read() == Done(**counts, output_shards=1, written=5)
    board.reset()
    assert board.read() == Done()


def test_images_count_as_soon_as_they_are_embedded_and_once():
    board = Board()
    board.add_embedded(range_of(1000), 4, 300)
    board.add_embedded(range_of(1000), 4, 300, failed=1)
    assert (board.read().embedded, board.read().embedded_bytes, board.read().embedded_failed) == (8, 600, 1)
    assert (board.read().flowing_samples, board.read().flowing_bytes) == (4, 300)
    board.add(range_of(1000), samples=10, failed=2, scored=True)
    done = dataclasses.replace(board.read(), flowing_since=0, flowing_samples=0, flowing_bytes=0)
    assert done == Done(ranges_scored=1, samples=10, failed=2, scored=10, bytes=1000, scored_bytes=1000)


def test_a_model_is_being_loaded_until_the_last_thread_has_it():
    board = Board()
    with board.loading("clip"):
        with board.loading("clip"):
            pass
        assert board.read().loading == ("clip",)
    assert board.read().loading == ()


def test_the_board_loses_no_count_among_threads():
    board = Board()

    def work():
        for _ in range(500):
            board.add(range_of(2), samples=1, failed=0, scored=True)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert board.read() == Done(ranges_scored=2000, samples=2000, scored=2000, bytes=4000, scored_bytes=4000)


def test_what_was_read_from_the_board_does_not_change_afterwards():
    board = Board()
    before = board.read()
    board.add_output_shard()
    assert before.output_shards == 0


@pytest.mark.parametrize(
    ("done", "seconds", "line"),
    [
        (Done(), 0, "starting"),
        (Done("planning", planned_shards=3), 1, "planning: 3 of 10 shards"),
        (
            Done("scoring", samples=1200, scored=1200, failed=3, bytes=250, scored_bytes=250),
            60,
            "scoring: 1,200 images, 20.0 images/s, 3 failed, 25%, 3m 00s left",
        ),
        (  # a resumed job: what was scored before counts as done, but not for the speed
            Done("scoring", samples=600, scored=100, bytes=600, scored_bytes=100, embedded=20, embedded_bytes=20),
            60,
            "scoring: 620 images, 2.0 images/s, 0 failed, 62%, 3m 10s left",
        ),
        (  # of urls nobody knows how large they are, and of compressed shards what is in them: ranges tell it
            Done(
                "scoring",
                planned_shards=10,
                planned_bytes=4000,
                ranges=4,
                samples=10,
                scored=10,
                bytes=1000,
                scored_bytes=1000,
            ),
            10,
            "scoring: 10 images, 1.0 images/s, 0 failed, 25%, 30s left",
        ),
        (  # loading the model, and what was embedded first, are no part of the speed
            Done("scoring", 1000.0, embedded=100, embedded_bytes=200, flowing_since=1030.0, flowing_samples=20),
            40,
            "scoring: 100 images, 8.0 images/s, 0 failed, 20%, 40s left",
        ),
        (  # all was scored before: no speed that would mean anything
            Done("planning", samples=600, failed=2, bytes=600),
            60,
            "reading scores: 600 images, 2 failed, 60%",
        ),
        (
            Done("scoring", samples=10, scored=10, bytes=1000, scored_bytes=1000),
            10,
            "scoring: 10 images, 1.0 images/s, 0 failed, 100%",
        ),
        (Done("scoring", samples=10, scored=10), 10, "scoring: 10 images, 1.0 images/s, 0 failed"),
        (  # failures count as they happen, not when their range is written
            Done("scoring", samples=10, scored=10, failed=1, embedded=10, embedded_failed=2),
            10,
            "scoring: 20 images, 2.0 images/s, 3 failed",
        ),
        (
            Done("scoring", loading=("ViT-L-14-quickgelu/openai",)),
            3,
            "scoring: loading ViT-L-14-quickgelu/openai",
        ),
        (
            Done("scoring", samples=10, failed=1, loading=("ViT-B-32/openai",)),
            10,
            "reading scores: loading ViT-B-32/openai, 10 images, 1 failed",
        ),
        (  # all is scored: what all samples decide together comes next
            Done("scoring", planned_shards=10, ranges=40, ranges_scored=40, samples=1200, scored=1200, failed=3),
            12,
            "selecting: 1,200 images, 3 failed, since 12s",
        ),
        (
            Done("scoring", planned_shards=9, ranges=40, ranges_scored=40, samples=1200, scored=1200),
            60,
            "scoring: 1,200 images, 20.0 images/s, 0 failed",
        ),
        (
            Done("comparing duplicates", planned_shards=10, ranges=4, ranges_scored=4, samples=10),
            125,
            "comparing duplicates: since 2m 05s",
        ),
        (  # the groups were known after a minute
            Done("comparing duplicates", 1000.0, groups=64, groups_compared=16, comparing_since=1060.0),
            70,
            "comparing duplicates: 16 of 64 groups of cells, 30s left",
        ),
        (
            Done("comparing duplicates", 1000.0, groups=64, groups_compared=64, comparing_since=1060.0),
            99,
            "comparing duplicates: since 1m 39s",
        ),
        (Done("writing", ranges=40, ledger_files=12), 9, "writing: the ledger of 12 of 40 ranges"),
        (
            Done("writing", output_shards=2, output_shards_due=6, written=2000),
            10,
            "writing: 2 of 6 output shards, 200 images/s, 20s left",
        ),
        (Done("writing the report", output_shards=6), 3, "writing the report: since 3s"),
    ],
)
def test_the_line_tells_the_phase_images_rate_failures_and_the_time_left(done, seconds, line):
    assert describe(done, seconds, 1000, 10) == line


def test_worker_processes_together_say_how_far_a_job_is(tmp_path, monkeypatch):
    monkeypatch.setenv(progress.SHARED_IN, str(tmp_path))
    board = Board()
    board.enter("scoring")
    board.add(range_of(500), samples=7, failed=1, scored=True)
    other = dataclasses.replace(Done("planning"), began=1.0, samples=5, loading=("clip",), output_shards_due=3)
    (tmp_path / "1.json").write_text(json.dumps(dataclasses.asdict(other)))
    (tmp_path / "2.json").write_text("{ half")
    progress.write_done(str(tmp_path), board.read())
    found = progress.read_done(str(tmp_path))
    assert (found.phase, found.samples, found.failed, found.loading) == ("scoring", 12, 1, ("clip",))
    assert found.began == board.read().began
    assert found.output_shards_due == 3


def test_worker_processes_count_the_groups_that_one_of_them_made():
    made = Done("comparing duplicates", 5.0, groups=64, groups_compared=3, comparing_since=9.0)
    other = Done("comparing duplicates", 10.0, groups_compared=4)
    together = progress.together([other, made])
    assert (together.began, together.groups, together.groups_compared, together.comparing_since) == (5.0, 64, 7, 9.0)


def test_selecting_is_told_since_all_was_scored(monkeypatch):
    clock = iter([100.0, 107.0])
    monkeypatch.setattr(progress_line.time, "time", lambda: next(clock))
    done = Done("scoring", 40.0, planned_shards=1, ranges=1, ranges_scored=1, samples=5)
    line = ProgressLine(0, io.StringIO(), total_shards=1, read=lambda: done)
    assert [line.line(), line.line()] == [f"selecting: 5 images, 0 failed, since {seconds}s" for seconds in (0, 7)]


def test_a_phase_never_goes_back():
    board = Board()
    for phase in ("planning", "writing", "scoring"):
        board.enter(phase)
    assert board.read().phase == "writing"


class Result:
    """A pipeline's result whose counters are those given, one set after the other."""

    def __init__(self, *counts):
        self._counts = iter(counts)

    def metrics(self):
        return self

    def query(self, _):
        found = next(self._counts)
        if found is None:
            raise NotImplementedError
        keys = [MetricKey("step", MetricName("beam_curator", name)) for name in found]
        return {"counters": [MetricResult(key, None, found[key.metric.name]) for key in keys]}


def test_a_runner_elsewhere_is_asked_for_its_counts():
    clock = iter(range(0, 600, 60))
    told = [
        {"shards_planned": 2},
        {"samples_read": 1500, "bytes_read": 150},
        {"samples_read": 2000, "bytes_read": 200, "samples_scored": 1000, "samples_failed": 3},
        {"samples_read": 4000, "bytes_read": 400, "samples_scored": 4000, "samples_failed": 3},
        {"samples_read": 9000, "bytes_read": 900, "samples_scored": 9000, "samples_listed": 800},
        {"samples_scored": 9000, "samples_listed": 9000, "samples_written": 500, "samples_kept": 2500},
        {"samples_scored": 9000, "samples_listed": 9000, "samples_written": 1100, "samples_kept": 2500},
    ]
    result = Result(None, {}, *told)
    counts = RunnersCounts(
        functools.partial(counts_of, result), "DataflowRunner", lambda: next(clock), total_bytes=1000, total_shards=8
    )
    assert [counts.line() for _ in range(9)] == [
        "DataflowRunner, 1m 00s: the runner tells no counts yet",
        "DataflowRunner, 2m 00s: the runner tells no counts yet",
        "DataflowRunner, 3m 00s, planning: 2 of 8 shards",
        "DataflowRunner, 4m 00s, scoring: 0 images, 0 failed",
        "DataflowRunner, 5m 00s, scoring: 1,000 images, 3 failed",
        "DataflowRunner, 6m 00s, scoring: 4,000 images, 50.0 images/s, 3 failed, 40%, 2m 00s left",
        "DataflowRunner, 7m 00s, writing: 9,000 images, 3 failed, 800 in the ledger, 0 written",
        "DataflowRunner, 8m 00s, writing: 9,000 images, 3 failed, 500 of 2,500 written",
        "DataflowRunner, 9m 00s, writing: 9,000 images, 3 failed, 1,100 of 2,500 written, 10.0 images/s, 2m 20s left",
    ]


def test_a_runner_elsewhere_tells_what_lies_between_scoring_and_writing():
    clock, scored = iter(range(0, 600, 60)), {"samples_scored": 90, "samples_reused": 10, "samples_failed": 3}
    all_scored = {"shards_planned": 8, "ranges_planned": 46, "ranges_scored": 46, **scored}
    told = [
        {**all_scored, "ranges_scored": 45},
        all_scored,
        all_scored,
        {**all_scored, "ranges_to_compare": 46},
        {**all_scored, "ranges_to_compare": 46, "groups_to_compare": 64, "groups_compared": 4},
        {**all_scored, "ranges_to_compare": 46, "groups_to_compare": 64, "groups_compared": 34},
        {**all_scored, "ranges_to_compare": 46, "groups_to_compare": 64, "groups_compared": 64},
    ]
    ask = functools.partial(counts_of, Result(*told))
    counts = RunnersCounts(ask, "FlinkRunner", lambda: next(clock), total_shards=8)
    assert [counts.line().partition(", ")[2].partition(", ")[2] for _ in told] == [
        "scoring: 100 images, 3 failed",
        "selecting: 100 images, 3 failed, since 0s",
        "selecting: 100 images, 3 failed, since 1m 00s",
        "comparing duplicates: 100 images, 3 failed, since 0s",
        "comparing duplicates: 100 images, 3 failed, 4 of 64 groups of cells",
        "comparing duplicates: 100 images, 3 failed, 34 of 64 groups of cells, 1m 00s left",
        "comparing duplicates: 100 images, 3 failed, since 3m 00s",
    ]


def test_counts_of_a_runner_elsewhere_that_fall_back_are_told_as_they_were():
    """Prism's do where a bundle ends while it is asked."""
    told = [{"samples_scored": n, "samples_read": 90} for n in (82, 72, 90)]
    counts = RunnersCounts(functools.partial(counts_of, Result(*told)), "PrismRunner", lambda: 0)
    assert [counts.line() for _ in told] == [
        f"PrismRunner, 0s, scoring: {images} images, 0 failed" for images in (82, 82, 90)
    ]


def test_a_runner_elsewhere_tells_the_time_left_of_what_is_planned():
    """Of urls nobody knows how large they are, and of compressed shards what is in them: ranges tell it."""
    clock, planned = iter([0, 60, 120]), {"shards_planned": 8, "bytes_planned": 1000}
    told = [{"samples_read": n, "bytes_read": n, "samples_scored": n, **planned} for n in (100, 400)]
    ask = functools.partial(counts_of, Result(*told))
    counts = RunnersCounts(ask, "DataflowRunner", lambda: next(clock), total_shards=8)
    counts.line()
    assert counts.line().endswith(" images, 5.0 images/s, 0 failed, 40%, 2m 00s left")


def test_how_much_is_left_is_not_told_where_bytes_do_not_say_it():
    """Some had been scored before; or the shards are compressed, not all are planned, and a range counts unpacked."""
    for more, total in (({"samples_reused": 7}, 1000), ({}, 250)):
        clock = iter([0, 60, 120])
        told = [{"samples_read": n, "bytes_read": n, "samples_scored": n, **more} for n in (100, 400)]
        ask = functools.partial(counts_of, Result(*told))
        counts = RunnersCounts(ask, "FlinkRunner", lambda c=clock: next(c), total_bytes=total)
        counts.line()
        assert counts.line().endswith(" images, 5.0 images/s, 0 failed")


def test_where_no_image_is_counted_before_the_end_of_a_stage_files_of_scores_tell_how_far_it_is():
    clock, scored = iter(range(0, 600, 60)), iter([6, 16, 46])
    told = Counter(shards_planned=8, ranges_planned=46)
    counts = RunnersCounts(
        lambda: told, "FlinkRunner", lambda: next(clock), 1000, 8, scored_ranges=lambda: next(scored)
    )
    assert [counts.line() for _ in range(3)] == [
        "FlinkRunner, 1m 00s, scoring: 6 of 46 ranges",
        "FlinkRunner, 2m 00s, scoring: 16 of 46 ranges, 3m 00s left",
        "FlinkRunner, 3m 00s, scoring: 46 of 46 ranges, 0s left",
    ]


def test_files_of_very_many_ranges_are_not_counted():
    told = Counter(shards_planned=8, ranges_planned=1_000_000)
    counts = RunnersCounts(lambda: told, "FlinkRunner", lambda: 0, 1000, 8, scored_ranges=lambda: pytest.fail("listed"))
    assert counts.line() == "FlinkRunner, 0s, scoring: 1,000,000 ranges"


class FlinkJob:
    """A portable job's service, which counts more each time it is asked."""

    asked = 0

    def GetJobMetrics(self, _):  # noqa: N802 (the service's name)
        self.asked += 1
        count = monitoring_infos.int64_user_counter(NAMESPACE, "samples_scored", self.asked, ptransform="ReadRanges")
        return beam_job_api_pb2.GetJobMetricsResponse(metrics=beam_job_api_pb2.MetricResults(committed=[count]))


def test_a_portable_job_is_asked_again_at_its_end():
    result = PipelineResult(FlinkJob(), "job", [], [])
    counts = RunnersCounts(functools.partial(counts_of, result), "FlinkRunner", lambda: 0)
    assert [counts.line().rpartition(": ")[2] for _ in range(2)] == ["1 image, 0 failed", "2 images, 0 failed"]
    assert running.counter(result, "samples_scored") == 3


class Stream(io.StringIO):
    """A stream that tells when the seven images of these tests were written of."""

    def __init__(self, terminal):
        super().__init__()
        self.terminal, self.written = terminal, threading.Event()

    def isatty(self):
        return self.terminal

    def flush(self):
        super().flush()
        if "7 images" in self.getvalue():
            self.written.set()


def test_plain_lines_are_written_where_there_is_no_terminal(monkeypatch):
    monkeypatch.setattr(progress_line, "LOG_EVERY_SECONDS", 0.01)
    stream = Stream(terminal=False)
    with ProgressLine(1000, stream):
        progress.BOARD.add(range_of(500), samples=7, failed=0, scored=True)
        assert stream.written.wait(HANG_SECONDS)
    lines = stream.getvalue().splitlines()
    assert lines[-1] == "reading scores: 7 images, 0 failed, 50%" or "images/s" in lines[-1]
    assert "\x1b" not in stream.getvalue()


def test_a_live_line_is_rewritten_on_a_terminal_and_gone_in_the_end():
    stream = Stream(terminal=True)
    with ProgressLine(1000, stream):
        progress.BOARD.add(range_of(500), samples=7, failed=0, scored=True)
        assert stream.written.wait(HANG_SECONDS)
    assert "\n" not in stream.getvalue()
    assert "7 images" in stream.getvalue()
    assert stream.getvalue().endswith("\r\x1b[K")


def test_the_line_begins_each_job_anew_and_ends_when_the_job_fails():
    progress.BOARD.add(range_of(500), samples=7, failed=0, scored=True)
    line = ProgressLine(1000, Stream(terminal=False))

    def job():
        with line:
            assert progress.BOARD.read() == Done()
            raise ValueError("job")

    with pytest.raises(ValueError, match="job"):
        job()
    assert not line._thread.is_alive()


@pytest.mark.parametrize(("rate", "text"), [(0.416, "0.42"), (6.31, "6.3"), (1204.4, "1,204"), (0, "0.00")])
def test_a_rate_has_as_many_digits_as_it_is_worth(rate, text):
    assert progress_line.rate_text(rate) == text
