"""WebDataset's grouping of a tar's members into samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

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
    """WebDataset's samples: the consecutive files of one key. Members have no data.

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
    gathered: dict[str, _Gathering] = {}
    gathering: _Gathering | None = None
    broken: TarBroken | None = None
    while True:
        try:
            header = next(headers, None)
            if header is None:
                break
            member = _as_member(header, link_target, on_passed_over)
        except TarBroken as error:
            broken = error
            break
        if member is None:
            continue
        key, extension, target = member
        goes_on = gathering is not None and key == gathering.key
        if not goes_on:
            if gathering is not None and not by_key:
                yield gathering.sample()
            known = gathered.get(key)
            gathering = known or _Gathering(key, header.offset)
            if by_key:
                gathered[key] = gathering
        cast(_Gathering, gathering).add(extension, header, target, goes_on)
    if by_key:
        yield from (one.sample() for one in gathered.values())
    elif gathering is not None:
        yield gathering.sample()
    if broken is not None:
        raise broken


def _as_member(
    header: Header, link_target: LinkTarget | None, on_passed_over: OnPassedOver | None
) -> tuple[str, str, Header] | None:
    """Key and extension of an entry, and the file that has its data; None if it belongs to no sample."""
    name = split_name(header.name) if header.kind in (FILE, HARD_LINK) else None
    target: Header | None = header
    if name is not None and header.kind == HARD_LINK:
        target = link_target(header) if link_target else None
    if name is not None and target is not None:
        return *name, target
    if on_passed_over is not None and header.kind != DIRECTORY:
        on_passed_over(header, why_passed_over(header.name) if header.kind == FILE else header.kind)
    return None


class _Gathering:
    """A sample whose members are still coming."""

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
        """Entries that belong to nothing may stand between two members: they are of the same piece of the tar."""
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
