"""Reading in the background: in order, bounded, and retried by whoever asked for it."""

import threading
import time

import pytest

from beam_curator.storage import retrying
from beam_curator.storage.read_ahead import prefetched
from tests.patience import HANG_SECONDS


@pytest.mark.parametrize("at_once", [1, 3])
def test_results_come_in_order(at_once):
    def read(number):
        time.sleep(0.01 if number % 2 else 0)
        return 10 * number

    assert list(prefetched(read, range(20), at_once)) == [10 * number for number in range(20)]
    assert list(prefetched(read, [], at_once)) == []


@pytest.mark.parametrize("at_once", [1, 3])
def test_no_more_is_read_ahead_than_that(at_once):
    begun, ahead = [], []
    for used, _ in enumerate(prefetched(begun.append, range(20), at_once)):
        ahead.append(len(begun) - used - 1)
    assert max(ahead) <= at_once


def test_the_next_is_read_while_one_is_used():
    both = threading.Barrier(2, timeout=HANG_SECONDS)
    results = prefetched(lambda number: number and both.wait(), range(2))
    next(results)
    both.wait()


def test_what_reading_raises_is_raised_in_its_turn():
    def read(number):
        if number == 2:
            raise OSError("gone")
        return number

    results = prefetched(read, range(5))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(OSError, match="gone"):
        next(results)


def test_attempts_do_not_multiply(monkeypatch):
    monkeypatch.setattr(retrying.CLOCK, "sleep", lambda seconds: None)
    attempts = []

    @retrying.retried
    def read(number):
        attempts.append(number)
        raise OSError("busy")

    @retrying.retried
    def use():
        return list(prefetched(read, [1]))

    with pytest.raises(OSError, match="busy"):
        use()
    assert len(attempts) == 5


def test_with_nothing_in_the_background_each_is_read_when_it_is_asked_for():
    read = []
    given = prefetched(lambda item: read.append(item) or -item, iter([1, 2, 3]), at_once=0)
    assert next(given) == -1
    assert read == [1]
    assert list(given) == [-2, -3]
