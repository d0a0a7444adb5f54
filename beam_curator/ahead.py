"""Work that goes on in the background while the steps that follow are busy with the element before."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import apache_beam as beam
from apache_beam.utils.windowed_value import WindowedValue

In = TypeVar("In")
Out = TypeVar("Out")


class WorkAhead(beam.DoFn, Generic[In, Out]):
    """Starts work on an element when it comes; gives the result when the next one has come, or the bundle ends.

    So the fused steps after it have the element before in hand while the next one is worked on. A bundle holds one more
    element in memory for it.
    """

    @abc.abstractmethod
    def start(self, element: In) -> Callable[[], Out]:
        """Starts the work; what is returned waits for it, on the thread of the bundle."""

    def start_bundle(self) -> None:
        """Nothing is under way yet."""
        self._under_way: tuple[Callable[[], Out], Any, Any] | None = None

    def process(
        self, element: In, window: Any = beam.DoFn.WindowParam, timestamp: Any = beam.DoFn.TimestampParam
    ) -> Iterator[WindowedValue]:
        before, self._under_way = self._under_way, (self.start(element), window, timestamp)
        yield from _result(before)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """The last element's result."""
        yield from _result(self._under_way)


def _result(work: tuple[Callable[[], Any], Any, Any] | None) -> Iterator[WindowedValue]:
    if work is not None:
        wait, window, timestamp = work
        yield WindowedValue(wait(), timestamp, (window,))
