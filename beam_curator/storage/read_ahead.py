"""Reading that goes on in the background while what was read before is being used."""

from __future__ import annotations

import collections
import contextvars
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


def prefetched(read: Callable[[T], U], items: Iterable[T], at_once: int = 1) -> Iterator[U]:
    """What is read of each item, in order; the next ones are read in the background, so many at once, or none.

    Where it is used inside what is retried, so is the reading (see `retrying.retried`).

    Raises:
      whatever `read` raises, when its item's turn has come. No reading goes on when the iterator is closed.
    """
    if not at_once:
        yield from map(read, items)
        return
    under_way: collections.deque[Future[U]] = collections.deque()
    with ThreadPoolExecutor(at_once, "read-ahead") as pool:
        try:
            for item in items:
                under_way.append(pool.submit(contextvars.copy_context().run, read, item))
                if len(under_way) > at_once:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()
