"""The embeddings of score parts as they are compared: read once, and looked up from a file on the local disk."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from beam_curator.duplicates.vectors import ID_BYTES, Vectors, comparable, ids_of, unit_vectors
from beam_curator.errors import JobError
from beam_curator.output.score_parts import read_embeddings


class StoredVectors:
    """The embeddings of the first images of all rows of some parts.

    Rows are counted through all parts. A part is read when one of its rows is asked for, and never twice.
    """

    def __init__(self, parts: Sequence[str], rows: Sequence[int], directory: Path) -> None:
        """For these parts, with so many rows each, by a file in this local directory."""
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
        vectors = np.asarray(self._file[start:end])
        names = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(ID_BYTES), len(vectors), [None, pa.py_buffer(ids_of(vectors).tobytes())]
        )
        return pc.if_else(pa.array(comparable(vectors)), names.cast(pa.binary()), None)

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
        found = unit_vectors(read_embeddings(self._parts[part]).embeddings)
        if not comparable(found).any():
            return  # not one could be embedded: what the file has not is zeros
        if self._file is None:
            self._file = self._made(found.shape[1])
        if len(found) != end - start:
            raise JobError(
                f"{self._parts[part]} has {len(found)} embeddings, its ledger {end - start} samples: the job that "
                "wrote them has gone on since; run it to its end, then this one again"
            )
        if found.shape[1] != self._file.shape[1]:
            raise JobError(
                f"{self._parts[part]} has embeddings {list(found.shape)}, others of {self._file.shape[1]} numbers: "
                "semantic duplicates are told by embeddings of one encoder"
            )
        # Written as a file: a store to a map of a full disk would end the process.
        with self._told_if_full(), self._place.open("r+b") as file:
            file.seek(start * found.shape[1] * found.itemsize)
            file.write(np.ascontiguousarray(found).data)

    def _made(self, dim: int) -> np.memmap:
        """The file, as long as it is going to be; what is not written yet takes no room, and is zeros."""
        shape = (int(self._starts[-1]), dim)
        with self._told_if_full(), self._place.open("wb") as file:
            file.truncate(shape[0] * dim * np.dtype(np.float16).itemsize)
        return np.memmap(self._place, np.float16, "r", shape=shape)

    @contextlib.contextmanager
    def _told_if_full(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            size = int(self._starts[-1]) * (self._file.shape[1] if self._file is not None else 0) * 2
            raise JobError(
                f"{self._place.parent}: no embeddings can be written there ({error.strerror or error}); "
                f"they take {size / 1e9:.1f} GB: set TMPDIR to a directory with more room"
            ) from error


@contextlib.contextmanager
def stored_vectors(parts: Sequence[str], rows: Sequence[int]) -> Iterator[StoredVectors]:
    """While the block runs: as `StoredVectors`, on the disk for temporary files (2 bytes a number)."""
    with tempfile.TemporaryDirectory(prefix="beam-curator-") as directory:
        yield StoredVectors(parts, rows, Path(directory))
