"""Formats other than tar: what each has to say of its shards and their rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from beam_curator.samples import Shard
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
