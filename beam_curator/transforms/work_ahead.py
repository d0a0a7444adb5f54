"""Work that goes on in the background while the steps that follow are busy with the element before."""

from __future__ import annotations

import abc
import collections
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import apache_beam as beam
from apache_beam.utils.windowed_value import WindowedValue

from beam_curator.transforms.lost_device import ending_worker_of_lost_device

In = TypeVar("In")
Out = TypeVar("Out")


class WorkAhead(beam.DoFn, Generic[In, Out]):
    """Starts work on an element when it comes; gives the result when `ahead` more have come, or the bundle ends.

    So the fused steps after it have the element before in hand while the next one is worked on. A bundle holds as many
    more elements in memory for it.

    Attributes:
      ahead: on how many elements work is started before the result of one is waited for.
    """

    ahead = 1

    @abc.abstractmethod
    def start(self, element: In) -> Callable[[], Out]:
        """Starts the work; what is returned waits for it, on the thread of the bundle."""

    def start_bundle(self) -> None:
        """Begins with nothing under way."""
        self._under_way: collections.deque[tuple[Callable[[], Out], Any, Any]] = collections.deque()

    def process(
        self, element: In, window: Any = beam.DoFn.WindowParam, timestamp: Any = beam.DoFn.TimestampParam
    ) -> Iterator[WindowedValue]:
        with ending_worker_of_lost_device():
            self._under_way.append((self.start(element), window, timestamp))
        if len(self._under_way) > self.ahead:
            yield self._first()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """The last elements' results."""
        while self._under_way:
            yield self._first()

    def _first(self) -> WindowedValue:
        wait, window, timestamp = self._under_way.popleft()
        with ending_worker_of_lost_device():
            return WindowedValue(wait(), timestamp, (window,))
