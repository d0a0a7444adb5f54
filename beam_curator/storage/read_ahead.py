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
    """Yields read(item) for each item, in order; threads read the next ones meanwhile.

    Args:
      read: reads an item. Inside a function that is `retrying.retried` it is retried with that function.
      items: what to read.
      at_once: how many items are read ahead, each in a thread; 0 to read none ahead.

    Raises:
      Exception: whatever `read` raises, when its item's turn has come. Reading ends when the iterator is closed.
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
