"""Shows how far a job is: one line that is written anew on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TextIO

_CLEAR = "\r\x1b[K"
_CUT = "..."


def is_live(stream: TextIO) -> bool:
    """Tells whether a line of this stream can be written anew: not in a file, nor on a terminal that knows no such
    thing."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def clearing(stream: TextIO) -> str:
    """The control characters that remove a live line; "" for a stream that has none."""
    return _CLEAR if is_live(stream) else ""


class StatusLine:
    """Shows one line after the other on a stream.

    Attributes:
      live: whether each takes the place of the one before. It is then no longer than the terminal is wide: of one that
        goes on in the next row of the screen, the first rows would stay.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream, self.live = stream, is_live(stream)
        self._is_shown = False

    def show(self, line: str) -> None:
        """Writes a line; nothing where nobody reads it any more."""
        self._write(f"{_CLEAR}{self._that_fits(line)}" if self.live else f"{line}\n")
        self._is_shown = True

    def end(self) -> None:
        """Removes the last line from a terminal."""
        if self.live and self._is_shown:
            self._write(_CLEAR)
            self._is_shown = False

    def _write(self, text: str) -> None:
        with contextlib.suppress(ValueError, OSError):  # it is closed, or whoever read it is gone
            self._stream.write(text)
            self._stream.flush()

    def _that_fits(self, line: str) -> str:
        """Its beginning, which has the phase, and more of its end, which has the time left, where it is too long."""
        room = max(1, self._columns() - 1)  # some terminals go on in the next row as soon as one is full
        if len(line) <= room:
            return line
        shown = max(0, room - len(_CUT))
        beginning = shown // 3
        return f"{line[:beginning]}{_CUT}{line[len(line) - (shown - beginning) :]}"[:room]

    def _columns(self) -> int:
        """Measures how wide the terminal is now: as COLUMNS says, else as it says itself; it may be another than that
        of the standard output."""
        if os.environ.get("COLUMNS", "").isdecimal() and (columns := int(os.environ["COLUMNS"])):
            return columns
        with contextlib.suppress(AttributeError, OSError, ValueError):
            if columns := os.get_terminal_size(self._stream.fileno()).columns:
                return columns
        return shutil.get_terminal_size().columns
