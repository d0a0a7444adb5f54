"""`Source`: the protocol by which samples of a format other than tar are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from beam_curator.samples import Shard
from beam_curator.sources.records import Record


class Rows(NamedTuple):
    """A run of a shard's rows, which becomes a range, the unit of work.

    Attributes:
      start: index of its first row.
      end: index behind its last row.
      size_bytes: about how many bytes its rows hold.
    """

    start: int
    end: int
    size_bytes: int


class UnreadableShard(Exception):  # noqa: N818 (an outcome that the reader records, not an error that ends anything)
    """Raised for a shard that gives no samples. The message continues the shard's name, such as "has no rows"."""


@runtime_checkable
class Source(Protocol):
    """Reads samples from files of one format; each file is a shard.

    A shard has rows, counted from 0, and each row is a sample. The same shard must always give the same rows with the
    same bytes, for kept samples are read again to be copied, and once more to be verified.
    """

    @property
    def endings(self) -> tuple[str, ...]:
        """Endings of the names of its files, in lower case, such as (".zip",): these are found in a directory."""

    def plan(self, shard: Shard, range_bytes: int) -> Sequence[Rows]:
        """Cuts a shard into runs of rows. The images of a run are in memory together.

        Args:
          shard: the file.
          range_bytes: about how many bytes a run should hold.

        Raises:
          UnreadableShard: it holds no samples.
          StorageError: it cannot be read.
        """

    def read(self, shard: Shard, rows: Sequence[int]) -> Iterator[Record]:
        """Reads rows, one `Record` for each; a row that cannot be read gives a record with a `failure`.

        Args:
          shard: the file.
          rows: indices of rows, ascending.

        Raises:
          UnreadableShard, StorageError: as `plan`.
        """
