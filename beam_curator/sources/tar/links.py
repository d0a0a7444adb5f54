"""Hard links inside a shard: tar stores a file once, and of its other names only which earlier entry has the data."""

from __future__ import annotations

import bisect
import contextlib
import posixpath
import sys
from typing import BinaryIO

from beam_curator.sources.tar.compression import is_decompressed
from beam_curator.sources.tar.headers import FILE, HARD_LINK, Header, TarBroken, iter_headers


class HardLinks:
    """Finds the files that hard links stand for: the last earlier entry of that name, as tar extracts them.

    Nothing is read before the first link is asked for. Then the headers of the shard are read once more, up to the
    link, or all of them where a step back costs the reading of all that comes before.

    Args:
      file: the uncompressed tar, from its beginning.
      start: where the headers that ask are counted from.
    """

    def __init__(self, file: BinaryIO, start: int = 0) -> None:
        self._file, self._start = file, start
        self._headers = iter_headers(file)
        self._read_to = 0
        self._found: dict[str, tuple[list[int], list[Header | None]]] = {}

    def __call__(self, link: Header) -> Header | None:
        """The file, placed as the link is; None where no earlier file has the name, or a sparse one."""
        at = link.offset + self._start
        self._read(at)
        target = self._before(at, link.link_name)
        return target and target.shifted(-self._start)

    def _read(self, until: int) -> None:
        if self._read_to >= until:
            return
        to_the_end = is_decompressed(self._file)
        with contextlib.suppress(TarBroken):  # whoever reads the samples there tells it
            for header in self._headers:
                self._remember(header)
                self._read_to = header.next_offset
                if self._read_to >= until and not to_the_end:
                    return
        self._read_to = sys.maxsize

    def _remember(self, header: Header) -> None:
        target = self._before(header.offset, header.link_name) if header.kind == HARD_LINK else header
        usable = target if target and target.kind == FILE and not target.is_sparse else None
        offsets, targets = self._found.setdefault(_normal(header.name), ([], []))
        offsets.append(header.offset)
        targets.append(usable)

    def _before(self, offset: int, name: str) -> Header | None:
        offsets, targets = self._found.get(_normal(name), ([], []))
        count = bisect.bisect_left(offsets, offset)
        return targets[count - 1] if count else None


def _normal(name: str) -> str:
    """The name as tar compares it: "./a.jpg" is "a.jpg"."""
    return posixpath.normpath(name)
