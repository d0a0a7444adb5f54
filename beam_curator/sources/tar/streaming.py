"""A range of a tar as its samples come, with no more of it in memory than the one that is being read, or some of those
whose members stand apart."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import BinaryIO, NamedTuple, cast

from beam_curator.errors import StorageError
from beam_curator.samples import Finding, Sample, ShardError, ShardRange
from beam_curator.sources.tar import indexing, reading
from beam_curator.sources.tar.compression import open_tar
from beam_curator.sources.tar.grouping import group_samples
from beam_curator.sources.tar.headers import TarBroken, check_end, iter_headers
from beam_curator.sources.tar.links import HardLinks
from beam_curator.sources.tar.windows import Seekable
from beam_curator.storage.retrying import retried

CHUNK_BYTES = 16 << 20
"""So much is asked for at once: few requests to a bucket, and little memory."""


class Ending(NamedTuple):
    """The facts of a range that are known only when its last sample has been read.

    Attributes:
      errors, passed_over, findings: as those of `RangeContent`.
      same_key: for each key of this range that several samples of the shard have, how many have it.
    """

    errors: Sequence[ShardError]
    passed_over: Mapping[str, int]
    findings: Sequence[Finding]
    same_key: Mapping[str, int]


class RangeStream:
    """The samples of a range with their bytes, one after the other, as `reading.read_range` gives them all at once, but
    for `Sample.same_key`, which is known at the end.

    Each sample has memory of its own, but for those whose members stand apart. What has been read stays read where
    storage fails and is asked again.

    Args:
      range: of a tar.
    """

    def __init__(self, range: ShardRange) -> None:
        self._range = range
        self._seen: list[Sample] = []
        self._errors: list[ShardError] = []
        self._passed_over: Mapping[str, int] = {}
        self._findings: list[Finding] = []
        self._same_key: dict[str, int] = {}

    def samples(self) -> Iterator[Sample]:
        """Yields all samples; then `ending` is known.

        Raises:
          StorageError: when the shard cannot be read, after retries.
        """
        range = self._range
        with _SteadyTar(range) as tar, _SteadyTar(range) as beside, _SteadyTar(range) as links:
            found = self._by_key(beside) if range.reading.group_by_key else self._in_order(tar, beside, links)
            for sample in self._with_those_apart(found, beside):
                self._seen.append(without_bytes(sample))
                yield sample
            places = reading.key_places(beside.as_file, range, self._seen)
            damage = reading.damage_in(tar.as_file, range) if range.compression else None
        self._same_key = {key: len(its) for key, its in places.items() if len(its) > 1}
        self._findings = reading.key_findings(range, self._seen, places)
        self._errors = [damage] if damage else self._errors

    @property
    def ending(self) -> Ending:
        """The facts that are told with the last sample."""
        return Ending(self._errors, self._passed_over, self._findings, self._same_key)

    def _in_order(self, tar: _SteadyTar, beside: _SteadyTar, first: _SteadyTar) -> Iterator[Sample]:
        """Samples as they stand, with their bytes but for those that stand apart. Hard links, and what the
        whole shard is asked for, are looked up in `beside`, but hard links of the first range in `first`: of a
        compressed shard that reads to its end, and a stream that met damage there gives nothing more."""
        range = self._range
        window = _Window(tar, range)
        file, ends, passed_over = cast(BinaryIO, window), indexing.Ends(), indexing.PassedOver()
        self._passed_over = passed_over.count
        links = HardLinks((beside if range.start else first).as_file, range.start)
        try:
            for found in group_samples(ends.seen(iter_headers(file)), links, on_passed_over=passed_over):
                shifted = reading.limited(indexing.shifted(found, range.start, window.length))
                too_large = shifted.span_bytes > reading.MAX_SAMPLE_BYTES and not reading.is_read_at_once(range)
                if found.extents or too_large:
                    yield shifted
                else:
                    own = window.taken(found.offset, found.span_bytes)
                    yield reading.with_data(shifted, memoryview(own), shifted.offset)
                    del own
                window.let_go(found.offset if found.extents else found.offset + found.span_bytes)
            window.let_go_all()
            if range.last:
                check_end(file, ends.last)
                indexing.check_rest(file, ends.last, beside.as_file, range.start)
        except TarBroken as broken:
            at = range.start + min(broken.offset, window.length)
            self._errors.append(ShardError(range.url, at, broken.reason))
        if range.compression:
            window.read_to_end()  # damage is told from the place that reading comes to

    def _by_key(self, tar: _SteadyTar) -> Iterator[Sample]:
        """Samples whose members may stand anywhere in the shard, without their bytes."""
        indexed = indexing.indexed_by_key(tar.as_file, self._range)
        self._errors, self._passed_over = indexed.errors, indexed.passed_over
        yield from indexed.samples

    def _with_those_apart(self, samples: Iterator[Sample], tar: _SteadyTar) -> Iterator[Sample]:
        """Yields all samples with their bytes. Those that stand apart are read for many samples at a time: each such
        read of a compressed shard begins at its beginning, and in a bucket is a request."""
        most = reading.LAID_BYTES if self._range.compression else CHUNK_BYTES
        waiting: list[Sample] = []
        taken = 0
        for sample in samples:
            if not waiting and not self._is_apart(sample):
                yield sample
                continue
            waiting.append(sample)
            taken += sample.span_bytes
            if taken >= most:
                yield from self._read(waiting, tar)
                taken = 0
        yield from self._read(waiting, tar)

    def _is_apart(self, sample: Sample) -> bool:
        return self._range.reading.group_by_key or bool(sample.extents)

    def _read(self, samples: list[Sample], tar: _SteadyTar) -> Iterator[Sample]:
        """Samples of which some have no bytes yet; neither the list holds them after that, nor this."""
        apart = [sample for sample in samples if self._is_apart(sample)]
        read = iter(reading.with_all_data(tar.as_file, self._range, apart, None))
        found = [next(read) if self._is_apart(sample) else sample for sample in samples]
        del read
        samples.clear()
        found.reverse()
        while found:
            yield found.pop()


def without_bytes(sample: Sample) -> Sample:
    """The sample as it is on other workers."""
    members = {name: dataclasses.replace(member, data=None) for name, member in sample.members.items()}
    return dataclasses.replace(sample, members=members)


class _SteadyTar:
    """A shard's uncompressed bytes, opened when they are first asked for. Where storage fails it is opened again, and
    reading goes on where it was."""

    def __init__(self, range: ShardRange) -> None:
        self._range = range
        self._tar: BinaryIO | None = None
        self._position = 0

    def __enter__(self) -> _SteadyTar:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._close()

    @property
    def as_file(self) -> BinaryIO:
        """This object, typed as a file."""
        return cast(BinaryIO, self)

    @property
    def raw(self) -> object:
        """The file under a decompressed stream, by which `is_decompressed` knows it."""
        return getattr(retried(self._opened)(), "raw", None)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset if whence == io.SEEK_SET else self._position + offset
        if self._range.compression:  # damage is met on the way
            self._steadily("seek", self._position)
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        return cast(bytes, self._steadily("read", size))

    def read1(self, size: int = -1) -> bytes:
        return cast(bytes, self._steadily("read1", size))

    def _steadily(self, how: str, *arguments: int) -> bytes | int:
        return retried(self._do)(how, *arguments)

    def _do(self, how: str, *arguments: int) -> bytes | int:
        begin = self._position
        try:
            tar = self._opened()
            try:
                if how != "seek":
                    tar.seek(begin)
                return cast("bytes | int", getattr(tar, how)(*arguments))
            finally:
                self._position = tar.tell()
        except (StorageError, OSError):
            self._position = begin
            self._close()
            raise

    def _opened(self) -> BinaryIO:
        if self._tar is None:
            self._tar = open_tar(self._range.shard, self._range.compression)
        return self._tar

    def _close(self) -> None:
        tar, self._tar = self._tar, None
        if tar is not None:
            with contextlib.suppress(StorageError, OSError):
                tar.close()


class _Window(Seekable):
    """A range as a file that is read forward. What was read is held until it is let go, but for large samples, which
    are taken by one read of their own.

    Attributes:
      length: how long it is, as far as is known: a shard that has become shorter is found out where its end is met.
    """

    def __init__(self, tar: _SteadyTar, range: ShardRange) -> None:
        self._tar, self._range = tar, range
        self.length = range.end - range.start
        self._held, self._begin, self._holds = bytearray(), 0, True
        # What is not held is read by itself: of a compressed shard, from its beginning.
        self._most = (reading.MAX_SAMPLE_BYTES if range.compression else 4 * CHUNK_BYTES) + CHUNK_BYTES

    def read(self, size: int = -1) -> bytes:
        data = self._at(self._position, self.length - self._position if size < 0 else size)
        self._position += len(data)
        return data

    def taken(self, begin: int, size: int) -> bytes:
        """Reads bytes of the range, fewer where it ends before."""
        return self._at(begin, size)

    def let_go(self, before: int) -> None:
        """Drops the bytes before a place, which are not needed any more."""
        gone = min(max(0, before - self._begin), len(self._held))
        del self._held[:gone]
        self._begin += gone

    def let_go_all(self) -> None:
        """Holds nothing from here on: what is read is only looked at."""
        self._holds = False

    def read_to_end(self) -> None:
        """Reads what is left, and keeps none of it."""
        self.let_go_all()
        at = self._begin + len(self._held)
        while at < self.length:
            self._at(at, min(CHUNK_BYTES, self.length - at))
            at = self._begin + len(self._held)

    def _at(self, begin: int, size: int) -> bytes:
        end = min(self.length, begin + size)
        if begin >= end:
            return b""
        self._hold(begin, end)
        if begin < self._begin:  # it was let go, or was more than is held
            return self._read(begin, end - begin)
        return bytes(memoryview(self._held)[begin - self._begin : end - self._begin])

    def _hold(self, begin: int, end: int) -> None:
        """Reads on to an end, and holds what stands from `begin` on at least, unless it is more than is held."""
        if not self._holds:
            self.let_go(begin)
        if begin - self._begin > self._most:
            self._held.clear()
            self._begin = begin
        while (held_to := self._begin + len(self._held)) < end:
            if len(self._held) > self._most:
                self._held.clear()
                self._begin = held_to
            data = self._read(held_to, min(CHUNK_BYTES, self.length - held_to))
            if not data:
                self.length = held_to
                return
            self._held += data

    def _read(self, begin: int, size: int) -> bytes:
        return reading.bytes_at(self._tar.as_file, self._range, self._range.start + begin, size)
