"""Ways to do the same work, measured side by side."""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T")


def interleaved(ways: Mapping[str, Callable[[], T]], repetitions: int) -> dict[str, list[T]]:
    """Runs each way in turn, again and again: what else the machine does falls on all of them alike."""
    results: dict[str, list[T]] = {name: [] for name in ways}
    for _ in range(repetitions):
        for name, run in ways.items():
            results[name].append(run())
    return results


def seconds_of(work: Callable[[], object]) -> float:
    """Measures how long work takes, on the clock."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def cpu_seconds_of(work: Callable[[], object]) -> float:
    """Measures how long work keeps this process busy, all threads together."""
    started = time.process_time()
    work()
    return time.process_time() - started


def median(values: list[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def per_second(images: int, seconds: list[float]) -> float:
    """Images a second, by the median; NaN where that is not above 0: a job whose start hides what its images take."""
    middle = statistics.median(seconds)
    return images / middle if middle > 0 else math.nan


def figure(value: float, digits: int) -> str:
    """A cell of a table: the number, or a dash for NaN."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def spread(values: list[float]) -> str:
    """Says how far the least and the greatest are from the median, in percent; a dash where that is not above 0."""
    middle = statistics.median(values)
    if middle <= 0:
        return "-"
    return f"{100 * (min(values) / middle - 1):+.0f}..{100 * (max(values) / middle - 1):+.0f} %"
