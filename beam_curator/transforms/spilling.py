"""What passes between the stages of a runner that holds it in memory lies on disk instead, and its place travels.

Beam's local runner keeps the elements that leave a stage, of all stages that wait for others, in memory. Within
`spilled_to_disk()`, coders leave larger elements in one temporary file of this process, which is gone with it, however
it ends. The first megabytes stay in memory, so small jobs write no file.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

from apache_beam import coders

from beam_curator.errors import JobError

IN_MEMORY_BYTES = 64 << 20
"""How much is held in memory before the file is made."""

_LEAST_BYTES = 256
"""Smaller elements travel themselves."""

_MARK = b"\0spilled"
"""What the place of an element begins with; no element does: batches are JSON, others are pickled."""

_PLACE = struct.Struct(">QQ")


class SpillFile:
    """Bytes in a temporary file, found again by their place; any thread may use it.

    Args:
      in_memory_bytes: how much of them is held in memory before the file is made.
    """

    def __init__(self, in_memory_bytes: int = IN_MEMORY_BYTES) -> None:
        self._file = tempfile.SpooledTemporaryFile(in_memory_bytes)  # noqa: SIM115  closed by `close`
        self._lock, self._end = threading.Lock(), 0

    def put(self, data: bytes) -> bytes:
        """Writes bytes; gives their place.

        Raises:
          JobError: where there is no room for them.
        """
        with self._lock:
            start = self._file.seek(0, os.SEEK_END)
            try:
                self._file.write(data)
            except OSError as error:
                raise JobError(
                    f"{tempfile.gettempdir()}: what passes between steps cannot be written there, after "
                    f"{start / 1e9:.1f} GB: {error.strerror}: set TMPDIR to a directory with more room"
                ) from error
        return _MARK + _PLACE.pack(start, len(data))

    def get(self, place: bytes) -> bytes:
        """The bytes at a place."""
        start, size = _PLACE.unpack(place[len(_MARK) :])
        with self._lock:
            self._file.seek(start)
            return self._file.read(size)

    def close(self) -> None:
        """Gives the room back."""
        self._file.close()


_file: SpillFile | None = None


@contextlib.contextmanager
def spilled_to_disk() -> Iterator[None]:
    """While the block runs a pipeline whose coders all work in this process, its elements lie on disk."""
    global _file
    before, _file = _file, SpillFile()
    try:
        yield
    finally:
        _file.close()
        _file = before


def left(encoded: bytes) -> bytes:
    """The place of an encoded element on disk; the element itself where it is small, or the runner is not this one."""
    return encoded if _file is None or len(encoded) < _LEAST_BYTES else _file.put(encoded)


def fetched(encoded: bytes) -> bytes:
    """The inverse of `left`."""
    if not encoded.startswith(_MARK):
        return encoded
    if _file is None:
        raise RuntimeError("an element was left in the temporary file of another process, or of a job that is over")
    return _file.get(encoded)


class Spillable:
    """A value of any type that is decoded when it is asked for, so that a runner that groups many holds their places.

    Args:
      value: the value.
    """

    def __init__(self, value: Any) -> None:
        self._value, self._encoded = value, b""

    @classmethod
    def of(cls, encoded: bytes) -> Spillable:
        """What `encoded` gave."""
        found = cls(None)
        found._encoded = encoded
        return found

    @property
    def value(self) -> Any:
        """The value, read anew each time it is asked for."""
        return pickle.loads(fetched(self._encoded)) if self._encoded else self._value

    @property
    def encoded(self) -> bytes:
        """The value as bytes, or their place."""
        return self._encoded or left(pickle.dumps(self._value, pickle.HIGHEST_PROTOCOL))


class SpillableCoder(coders.Coder):
    """Of `Spillable`."""

    def encode(self, one: Spillable) -> bytes:
        return one.encoded

    def decode(self, encoded: bytes) -> Spillable:
        return Spillable.of(encoded)

    def is_deterministic(self) -> bool:
        return False

    def to_type_hint(self) -> Any:
        return Spillable

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))
