"""Formats other than tar: what each has to say of its shards and their rows."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from beam_curator.errors import UsageError
from beam_curator.reading import DEFAULT_READING, Reading
from beam_curator.samples import Shard
from beam_curator.sources.formats import FOLDER, LIST, PARQUET
from beam_curator.sources.records import Record


class Rows(NamedTuple):
    """A run of a shard's rows, the unit of work.

    Attributes:
      start: its first row.
      end: the row after its last one.
      size_bytes: about how many bytes it holds.
    """

    start: int
    end: int
    size_bytes: int


class UnreadableShard(Exception):  # noqa: N818 (an outcome that the reader records, not an error that ends anything)
    """A shard that gives no samples: the message says why, to be read after its name, such as "has no rows"."""


@runtime_checkable
class Source(Protocol):
    """Reads samples from files of one format, which are its shards.

    A shard is rows, counted from 0. The same shard always gives the same rows with the same bytes: kept samples are
    read once more to be copied, and once more to be verified.
    """

    @property
    def endings(self) -> tuple[str, ...]:
        """How the files of a directory end that are its shards, in lower case: (".zip",)."""

    def plan(self, shard: Shard, range_bytes: int) -> Sequence[Rows]:
        """Cuts a shard into runs of rows, each of about `range_bytes`: a run's images are in memory together.

        Raises:
          UnreadableShard: when it holds none.
          StorageError: when it cannot be read.
        """

    def read(self, shard: Shard, rows: Sequence[int]) -> Iterator[Record]:
        """Reads these rows, which ascend, one `Record` for each; one that cannot be read has a `failure`.

        Raises:
          UnreadableShard, StorageError: as `plan`.
        """


def source_of(format: str, reading: Reading = DEFAULT_READING) -> Source:
    """What reads shards of a format.

    Args:
      format: `PARQUET`, `FOLDER`, `LIST`, or the name of a user's own.
      reading: how they are to be read.

    Raises:
      UsageError: for a name that leads to no source.
    """
    if format == PARQUET:
        from beam_curator.sources.parquet import ParquetSource

        return ParquetSource(reading.image_column, reading.caption_column)
    if format in (FOLDER, LIST):
        from beam_curator.sources.listed_files import ListedSource

        return ListedSource()
    return _users_source(format)


def _users_source(name: str) -> Source:
    module, _, path = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:  # as `python -m` does, so that the console script finds the same modules
        sys.path.insert(0, here)
    try:
        found = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
        source = found() if isinstance(found, type) else found
    except Exception as error:  # importing and making run the user's code
        raise UsageError(f"--input_format {name}: {type(error).__name__}: {error}") from error
    if not isinstance(source, Source):
        raise UsageError(f"--input_format {name}: is no source: it needs endings, plan() and read()")
    return source
