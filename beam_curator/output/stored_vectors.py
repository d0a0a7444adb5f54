"""The embeddings of score parts as they are compared: read once, and looked up from a file on the local disk."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from beam_curator.duplicates.vectors import ID_BYTES, Vectors, comparable, ids_of, unit_vectors
from beam_curator.errors import JobError
from beam_curator.first_few import size_text
from beam_curator.output.part_contents import read_embeddings
from beam_curator.temporaries import temporary_directory

ID_TYPE = pa.binary(ID_BYTES)
"""The type of ids of vectors, where they are compared."""


class StoredVectors:
    """The embeddings of the first images of all rows of some parts.

    Rows are counted through all parts. A part is read when one of its rows is asked for, and never twice.
    """

    def __init__(self, parts: Sequence[str], rows: Sequence[int], directory: Path) -> None:
        """Takes the parts, the number of rows of each, and a local directory for the file of vectors."""
        self._parts = parts
        self._starts = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
        self._place = directory / "vectors"
        self._file: np.memmap | None = None
        self._filled = np.zeros(len(parts), bool)
        self._lock = threading.Lock()

    def of_rows(self, rows: NDArray[np.int64]) -> Vectors:
        """The vectors of some rows: int64 [m] to float16 [m, dim]."""
        if not self._filled.all():
            wanted = np.unique(np.searchsorted(self._starts, rows, "right") - 1)
            with self._lock:
                self._fill(wanted)
        assert self._file is not None
        return self._file[rows]

    def ids_of_part(self, part: int) -> pa.Array:
        """The ids of a part's vectors, null where one has no direction."""
        with self._lock:
            self._fill([part])
        start, end = self._starts[part : part + 2].tolist()
        if start == end or self._file is None:
            return pa.nulls(end - start, pa.binary())
        return ids_of_vectors(np.asarray(self._file[start:end]))

    def _fill(self, parts: Iterable[int]) -> None:
        """Reads those of some parts that are not read yet; only one that is written is filled: others look."""
        for part in parts:
            if not self._filled[part]:
                self._read(int(part))
                self._filled[part] = True

    def _read(self, part: int) -> None:
        start, end = self._starts[part : part + 2].tolist()
        if start == end:
            return
        found = vectors_of_part(self._parts[part], end - start)
        if not comparable(found).any():
            return  # not one could be embedded: what the file has not is zeros
        if self._file is None:
            self._file = vectors_file(self._place, int(self._starts[-1]), found.shape[1])
        check_dim(self._parts[part], found, self._file.shape[1])
        write_vectors(self._file, start, found)


def vectors_of_part(part: str, rows: int) -> Vectors:
    """The embeddings of the first images of a part's rows, as they are compared: float16 [rows, dim].

    Args:
      part: its path.
      rows: how many its ledger has.

    Raises:
      JobError: where the part has another number of them.
      StorageError: when it cannot be read, after retries.
    """
    found = unit_vectors(read_embeddings(part).embeddings)
    if len(found) != rows and comparable(found).any():
        raise JobError(
            f"{part} has {len(found)} embeddings, its ledger {rows} samples: the job that wrote them has gone on "
            "since; run it to its end, then this one again"
        )
    return found


def check_dim(part: str, found: Vectors, dim: int) -> None:
    """Raises JobError where a part's vectors are of another encoder than those of others."""
    if found.shape[1] != dim:
        raise JobError(
            f"{part} has embeddings {list(found.shape)}, others of {dim} numbers: semantic duplicates are told by "
            "embeddings of one encoder"
        )


def ids_of_vectors(vectors: Vectors) -> pa.Array:
    """The ids of vectors, null where one has no direction."""
    names = pa.FixedSizeBinaryArray.from_buffers(ID_TYPE, len(vectors), [None, pa.py_buffer(ids_of(vectors).tobytes())])
    return pc.if_else(pa.array(comparable(vectors)), names.cast(pa.binary()), None)


def ids_in_part(part: str, rows: int) -> pa.Array:
    """The ids of a part's vectors: as `ids_of_vectors`, without a file on this disk. Raises as `vectors_of_part`."""
    found = vectors_of_part(part, rows) if rows else np.zeros((0, 1), np.float16)
    return ids_of_vectors(found) if len(found) == rows else pa.nulls(rows, pa.binary())


def vectors_file(place: Path, rows: int, dim: int) -> np.memmap:
    """A local file of vectors, as long as it is going to be: float16 [rows, dim], to be read; what `write_vectors` has
    not written takes no room, and is zeros. Raises JobError where it cannot be made."""
    with _told_if_full(place, rows, dim), place.open("wb") as file:
        file.truncate(rows * dim * np.dtype(np.float16).itemsize)
    return np.memmap(place, np.float16, "r", shape=(rows, dim))


def write_vectors(into: np.memmap, start: int, vectors: Vectors) -> None:
    """Writes vectors into a file from a row on, as a file: a store to a map of a full disk would end the process.

    Raises:
      JobError: where there is no room.
    """
    place = Path(str(into.filename))
    with _told_if_full(place, *into.shape), place.open("r+b") as file:
        file.seek(start * into.shape[1] * into.itemsize)
        file.write(np.ascontiguousarray(vectors).data)


@contextlib.contextmanager
def _told_if_full(place: Path, rows: int, dim: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise JobError(
            f"{place.parent}: no embeddings can be written there ({error.strerror or error}); "
            f"they take {size_text(rows * dim * 2)}: set TMPDIR to a directory with more room"
        ) from error


@contextlib.contextmanager
def stored_vectors(parts: Sequence[str], rows: Sequence[int]) -> Iterator[StoredVectors]:
    """Makes `StoredVectors` on the disk for temporary files (2 bytes a number), which are gone after the block."""
    with temporary_directory("beam-curator-") as directory:
        yield StoredVectors(parts, rows, Path(directory))
