"""Keeps on disk what waits between two stages of a runner that would keep it in memory: only its place travels.

Beam's local runner keeps the elements that leave a stage, of all stages that wait for others, in memory. Of a pipeline
that is run within `spilled_to_disk()`, coders leave larger elements in a temporary file of its own, which is gone with
this process, however it ends. The first megabytes stay in memory, so small jobs write no file. A coder knows which file
that is from when Beam asked for it, so that no other pipeline and no other process leaves anything there.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import secrets
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from apache_beam import coders

from beam_curator.errors import JobError
from beam_curator.first_few import size_text

IN_MEMORY_BYTES = 64 << 20
"""The bytes that are held in memory before the file is made."""

_LEAST_BYTES = 256
"""Smaller elements travel themselves."""

_MARK = b"\0"
"""The prefix of the place of an element; no element begins so: batches are JSON, others are pickled."""

_NAME_BYTES = 8
_PLACE = struct.Struct(f">{_NAME_BYTES}sQ")
"""The place of an element: which file, and where in it. The runner holds one for each range of a job."""

_SIZE = struct.Struct(">Q")
"""How many bytes an element has: it stands before them in the file."""


class SpillFile:
    """Bytes in a temporary file, found again by their place; any thread may use it.

    Args:
      in_memory_bytes: how much of them is held in memory before the file is made.
      held: what steps of the pipeline leave there for a later one, or None.

    Attributes:
      name: 8 bytes, by which places and coders tell it from others.
      held: as it was given.
    """

    def __init__(self, in_memory_bytes: int = IN_MEMORY_BYTES, held: object = None) -> None:
        self.held = held
        self.name = secrets.token_bytes(_NAME_BYTES)
        self._file = tempfile.SpooledTemporaryFile(in_memory_bytes)  # noqa: SIM115  closed by `close`
        self._lock, self._fault = threading.Lock(), ""

    def put(self, data: bytes | memoryview) -> bytes:
        """Writes bytes; gives their place.

        Raises:
          JobError: where there is no room for them, or was none before.
        """
        with self._lock:
            self._check()
            self._file.seek(0, os.SEEK_END)
            start = self._file.tell()
            try:
                self._file.write(_SIZE.pack(len(data)))
                self._file.write(data)
                self._file.flush()  # else a disk that is full would be told by whoever comes next
            except OSError as error:
                self._fault = (
                    f"{_directory()}: what passes between steps cannot be written there, after {size_text(start)}: "
                    f"{error.strerror}: set TMPDIR to a directory with more room"
                )
                raise JobError(self._fault) from error
        return _MARK + _PLACE.pack(self.name, start)

    def get(self, place: bytes) -> bytes:
        """The bytes at a place in this file.

        Raises:
          JobError: where there was no room before.
        """
        _, start = _PLACE.unpack(place[len(_MARK) :])
        with self._lock:
            self._check()
            self._file.seek(start)
            (size,) = _SIZE.unpack(self._file.read(_SIZE.size))
            return self._file.read(size)

    def _check(self) -> None:
        """Raises JobError after a fault, since which nothing is certain of what the file holds."""
        if self._fault:
            raise JobError(self._fault)

    def close(self) -> None:
        """Gives the room back."""
        with contextlib.suppress(OSError):  # what could not be written is written once more, in vain
            self._file.close()


def _directory() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:  # there is none; the fault that is told names those that were tried
        return "temporary files"


NOWHERE = b""
"""The name of no file: elements travel themselves."""

_files: dict[bytes, SpillFile] = {}
_current: ContextVar[bytes] = ContextVar("current", default=NOWHERE)


@contextlib.contextmanager
def spilled_to_disk(held: object = None) -> Iterator[None]:
    """Lays on disk the elements of a pipeline that the block runs, all of whose coders work in this process.

    Args:
      held: what its steps leave in the same file for a later one, if any does.
    """
    file = SpillFile(held=held)
    _files[file.name] = file
    before = _current.get()
    _current.set(file.name)
    try:
        yield
    finally:
        _current.set(before)
        del _files[file.name]
        file.close()


def current() -> bytes:
    """The name of the file of the pipeline that this thread runs, for a coder of it to keep."""
    return _current.get()


def current_file() -> SpillFile | None:
    """The file of the pipeline that this thread runs; None where it has none."""
    return _files.get(current())


def left(encoded: bytes, name: bytes) -> bytes:
    """The place of an encoded element in the file of this name; the element itself where it is small, or there is no
    such file in this process."""
    file = _files.get(name)
    return encoded if file is None or len(encoded) < _LEAST_BYTES else file.put(encoded)


def fetched(encoded: bytes) -> bytes:
    """The inverse of `left`.

    Raises:
      RuntimeError: for a place in a file that is not there.
    """
    if not encoded.startswith(_MARK):
        return encoded
    file = _files.get(encoded[len(_MARK) :][:_NAME_BYTES])
    if file is None:
        raise RuntimeError("an element was left in the temporary file of another process, or of a job that is over")
    return file.get(encoded)


class Spillable:
    """A value of any type that is decoded when it is asked for, so that a runner that groups many holds their places.

    Args:
      value: the value.
    """

    __slots__ = ("_encoded", "_is_here", "_value")

    def __init__(self, value: Any) -> None:
        self._value, self._is_here, self._encoded = value, True, b""

    @classmethod
    def of(cls, encoded: bytes) -> Spillable:
        """A value from what `encoded` gave."""
        found = cls(None)
        found._is_here, found._encoded = False, encoded
        return found

    @property
    def value(self) -> Any:
        """The value; where it was decoded, read anew each time it is asked for."""
        return self._value if self._is_here else pickle.loads(fetched(self._encoded))

    def encoded(self, name: bytes) -> bytes:
        """The value as bytes, or their place in the file of this name: written once, however often Beam asks, which it
        does for their size."""
        if not self._encoded:
            self._encoded = left(pickle.dumps(self._value, pickle.HIGHEST_PROTOCOL), name)
        return self._encoded


class SpillableCoder(coders.Coder):
    """Encodes a `Spillable`."""

    def __init__(self) -> None:
        self._name = current()

    def encode(self, one: Spillable) -> bytes:
        return one.encoded(self._name)

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
