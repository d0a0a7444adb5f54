"""Progress: counts, and a line about them."""

import io
import threading

import pytest

from beam_curator import progress
from beam_curator.commands import progress_line
from beam_curator.commands.progress_line import ProgressLine, describe, duration
from beam_curator.progress import Board, Done
from beam_curator.samples import Shard, ShardRange
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
    board.add_output_shard()
    assert board.read() == Done(samples=16, failed=3, scored=11, bytes=1500, scored_bytes=1000, output_shards=1)
    board.reset()
    assert board.read() == Done()


def test_images_count_as_soon_as_they_are_embedded_and_once():
    board = Board()
    board.add_embedded(range_of(1000), 4, 300)
    board.add_embedded(range_of(1000), 4, 300, failed=1)
    assert (board.read().embedded, board.read().embedded_bytes, board.read().embedded_failed) == (8, 600, 1)
    board.add(range_of(1000), samples=10, failed=2, scored=True)
    assert board.read() == Done(samples=10, failed=2, scored=10, bytes=1000, scored_bytes=1000)


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
    assert board.read() == Done(samples=2000, scored=2000, bytes=4000, scored_bytes=4000)


def test_what_was_read_from_the_board_does_not_change_afterwards():
    board = Board()
    before = board.read()
    board.add_output_shard()
    assert before.output_shards == 0


@pytest.mark.parametrize(
    ("done", "seconds", "total", "line"),
    [
        (Done(), 0, 0, "0 images, 0.00 images/s, 0 failed"),
        (
            Done(samples=1200, scored=1200, failed=3, bytes=250, scored_bytes=250),
            60,
            1000,
            "1,200 images, 20.0 images/s, 3 failed, 25%, 3m 00s left",
        ),
        (  # a resumed job: what was scored before counts as done, but not for the speed
            Done(samples=600, scored=100, bytes=600, scored_bytes=100, embedded=20, embedded_bytes=20),
            60,
            1000,
            "620 images, 2.0 images/s, 0 failed, 62%, 3m 10s left",
        ),
        (Done(samples=10, scored=10, bytes=1000, scored_bytes=1000), 10, 1000, "10 images, 1.0 images/s, 0 failed"),
        (Done(samples=10, scored=10), 10, 1000, "10 images, 1.0 images/s, 0 failed"),
        (  # failures count as they happen, not when their range is written
            Done(samples=10, scored=10, failed=1, embedded=10, embedded_failed=2),
            10,
            1000,
            "20 images, 2.0 images/s, 3 failed",
        ),
        (Done(loading=("ViT-L-14-quickgelu/openai",)), 3, 1000, "loading ViT-L-14-quickgelu/openai"),
        (
            Done(samples=10, failed=1, loading=("ViT-B-32/openai",)),
            10,
            1000,
            "loading ViT-B-32/openai, 10 images, 0.00 images/s, 1 failed",
        ),
        (
            Done(samples=10, scored=10, bytes=500, scored_bytes=500, output_shards=2),
            10,
            1000,
            "10 images, 1.0 images/s, 0 failed, 2 output shards written",
        ),
    ],
)
def test_the_line_tells_images_rate_failures_and_the_time_left(done, seconds, total, line):
    assert describe(done, seconds, total) == line


class Stream(io.StringIO):
    """A stream that tells when something was written."""

    def __init__(self, terminal):
        super().__init__()
        self.terminal, self.written = terminal, threading.Event()

    def isatty(self):
        return self.terminal

    def flush(self):
        super().flush()
        self.written.set()


def test_plain_lines_are_written_where_there_is_no_terminal(monkeypatch):
    monkeypatch.setattr(progress_line, "LOG_EVERY_SECONDS", 0.01)
    stream = Stream(terminal=False)
    with ProgressLine(1000, stream):
        progress.BOARD.add(range_of(500), samples=7, failed=0, scored=True)
        assert stream.written.wait(HANG_SECONDS)
    lines = stream.getvalue().splitlines()
    assert all("images/s" in line for line in lines)
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
