"""Values on their way to whoever has their key, some together: what a runner spends on an element it spends on many."""

from __future__ import annotations

import collections
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
Pack = TypeVar("Pack")


class Packing(Generic[Key, Value, Pack]):
    """Collects the values of each key.

    Args:
      together: how many values of a key travel together.
      pack: what travels of them.
      most: when so many values wait, of all keys together, all of them are sent on.
    """

    def __init__(self, together: int, pack: Callable[[list[Value]], Pack], most: int) -> None:
        self._together, self._pack, self._most = together, pack, most
        self._waiting: dict[Key, list[Value]] = collections.defaultdict(list)
        self._count = 0

    def add(self, key: Key, value: Value) -> Iterator[tuple[Key, Pack]]:
        """Takes a value; gives those of its key when they are as many as travel together, or all when too many wait."""
        waiting = self._waiting[key]
        waiting.append(value)
        self._count += 1
        if len(waiting) == self._together:
            self._count -= self._together
            yield key, self._pack(self._waiting.pop(key))
        elif self._count >= self._most:
            yield from self.rest()

    def rest(self) -> Iterator[tuple[Key, Pack]]:
        """Gives those that are left."""
        for key, values in self._waiting.items():
            yield key, self._pack(values)
        self._waiting.clear()
        self._count = 0
