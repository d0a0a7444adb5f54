"""Finds where a JPEG's markers stand: ITU-T T.81, annex B."""

from __future__ import annotations

import re
from collections.abc import Iterator

SCAN = 0xDA
END = 0xD9
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

# 0xFF within coded data is followed by 0, or by the number of a restart.
_MARKER_AFTER_DATA = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


def markers(data: bytes) -> Iterator[tuple[int, int]]:
    """(marker, where its 0xFF stands) up to the end of the first picture, or as far as this can be followed."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # may fill the space before a marker
            at += 1
            continue
        yield marker, at
        if marker == END:
            return
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == SCAN:
            found = _MARKER_AFTER_DATA.search(data, at)
            if not found:
                return
            at = found.start()
    if data[at : at + 2] == bytes((0xFF, END)):
        yield END, at


def end_of(data: bytes) -> int | None:
    """Finds where the marker stands that ends the picture; None if there is none."""
    return next((at for marker, at in markers(data) if marker == END), None)


def size_of(data: bytes) -> tuple[int, int] | None:
    """(width, height) as the frame's header says, in pixels."""
    for marker, at in markers(data):
        if marker in _FRAMES and at + 9 <= len(data):
            return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
    return None
