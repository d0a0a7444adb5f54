"""WebDataset's grouping of a tar's members into samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from beam_curator.samples import Member, Sample, readable
from beam_curator.sources.tar.headers import DIRECTORY, FILE, HARD_LINK, Header, LinkTarget, OnPassedOver, TarBroken
from beam_curator.sources.tar.names import split_name, why_passed_over

_RESERVED = frozenset({"__key__", "__url__", "__bad__", "__local_path__"})
"""Fields that WebDataset itself puts into a sample: a member of that name makes it raise, or drop the sample."""


def group_samples(
    headers: Iterator[Header],
    link_target: LinkTarget | None = None,
    by_key: bool = False,
    on_passed_over: OnPassedOver | None = None,
) -> Iterator[Sample]:
    """Groups the consecutive files of one key into samples, as WebDataset does. Members have no data.

    A sample that repeats an extension, or that has a sparse file or an extension that WebDataset cannot hold, is
    failed, never merged.

    Args:
      headers: the entries of a tar.
      link_target: finds what hard links stand for; without it, or where it finds nothing, they are passed over.
      by_key: whether all files of one key are one sample, wherever they stand. The samples then come when all headers
        were read, in the order of their first files.
      on_passed_over: told of each entry that belongs to no sample, but for directories, and of what kind it is.

    Raises:
      TarBroken: after the last sample, where the headers raise it.
    """
    members = _Members(headers, link_target, on_passed_over)
    yield from _joined(members) if by_key else _consecutive(members)
    if members.broken is not None:
        raise members.broken


def _consecutive(members: Iterable[_FileOfSample]) -> Iterator[Sample]:
    gathering: _Gathering | None = None
    for key, extension, header, target in members:
        goes_on = gathering is not None and key == gathering.key
        if gathering is None or not goes_on:
            if gathering is not None:
                yield gathering.sample()
            gathering = _Gathering(key, header.offset)
        gathering.add(extension, header, target, goes_on)
    if gathering is not None:
        yield gathering.sample()


def _joined(members: Iterable[_FileOfSample]) -> Iterator[Sample]:
    gathered: dict[str, _Gathering] = {}
    last: str | None = None
    for key, extension, header, target in members:
        gathering = gathered.get(key) or gathered.setdefault(key, _Gathering(key, header.offset))
        gathering.add(extension, header, target, key == last)
        last = key
    yield from (gathering.sample() for gathering in gathered.values())


class _FileOfSample(NamedTuple):
    """A file that belongs to a sample: its entry, and the one that has its data, another one for a hard link."""

    key: str
    extension: str
    header: Header
    target: Header


class _Members:
    """Iterates over the files that belong to samples. Where the tar breaks it ends, so that samples before it count.

    Attributes:
      broken: what ended it, if anything did.
    """

    def __init__(
        self, headers: Iterator[Header], link_target: LinkTarget | None, on_passed_over: OnPassedOver | None
    ) -> None:
        self._headers, self._link_target, self._on_passed_over = headers, link_target, on_passed_over
        self.broken: TarBroken | None = None

    def __iter__(self) -> Iterator[_FileOfSample]:
        try:
            for header in self._headers:
                member = _as_member(header, self._link_target, self._on_passed_over)
                if member is not None:
                    yield member
        except TarBroken as error:
            self.broken = error


def _as_member(
    header: Header, link_target: LinkTarget | None, on_passed_over: OnPassedOver | None
) -> _FileOfSample | None:
    """Finds the key and the extension of an entry, and the file that has its data; None if it belongs to no sample."""
    name = split_name(header.name) if header.kind in (FILE, HARD_LINK) else None
    target: Header | None = header
    if name is not None and header.kind == HARD_LINK:
        target = link_target(header) if link_target else None
    if name is not None and target is not None:
        return _FileOfSample(*name, header, target)
    if on_passed_over is not None and header.kind != DIRECTORY:
        on_passed_over(header, why_passed_over(header.name) if header.kind == FILE else header.kind)
    return None


class _Gathering:
    """Gathers the members of one sample while they come."""

    def __init__(self, key: str, offset: int) -> None:
        self.key, self._offset = key, offset
        self._extents: list[tuple[int, int]] = []  # begin and end
        self._open = False
        self._members: dict[str, Member] = {}
        self._failure: str | None = None

    def add(self, extension: str, header: Header, target: Header, goes_on: bool) -> None:
        """Adds the file that stands at a header; `goes_on` if no other sample's file stands between it and the last."""
        self._cover(header, goes_on)
        if extension in self._members:
            self._failure = self._failure or f'repeated member "{readable(extension)}"'
        elif target.is_sparse:
            self._failure = self._failure or f'sparse member "{readable(extension)}"'
        elif extension in _RESERVED or "\0" in extension:
            self._failure = self._failure or f'member with a reserved name "{readable(extension)}"'
        else:
            if target is not header:
                self._extents.append((target.offset, target.next_offset))
                self._open = False
            self._members[extension] = Member(extension, target.data_offset, target.size)

    def _cover(self, header: Header, goes_on: bool) -> None:
        """Adds the bytes of an entry; entries of no sample before it, since the last member, are of the same piece."""
        if self._open and goes_on:
            self._extents[-1] = (self._extents[-1][0], header.next_offset)
        else:
            self._extents.append((header.offset, header.next_offset))
        self._open = True

    def sample(self) -> Sample:
        extents = tuple((begin, end - begin) for begin, end in self._extents)
        span_bytes = sum(size for _, size in extents)
        several = extents if len(extents) > 1 else ()
        return Sample(self.key, self._offset, span_bytes, self._members, self._failure, extents=several)
