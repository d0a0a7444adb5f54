"""Standard output and error that somebody stops to read: `beam-curator curate ... | head`.

A command goes on when nobody reads what it says any more, and its exit code tells how its work ended.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO


class _Unread(io.FileIO):
    """A file descriptor whose reader may be gone: what is written to it then is lost, and no error."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return memoryview(data).nbytes


class _Bearing(io.BufferedWriter):
    """Its buffer."""


def bear_with_readers_that_leave() -> None:
    """Has this process's standard output and error bear with a reader that is gone, or was never there (`>&-`)."""
    sys.stdout, sys.stderr = _bearing(sys.stdout), _bearing(sys.stderr)


def _bearing(stream: TextIO | None) -> TextIO:
    if stream is None:  # closed when the process began
        return open(os.devnull, "w")  # noqa: PTH123 (as long as the process)
    if not isinstance(stream, io.TextIOWrapper) or isinstance(stream.buffer, _Bearing):
        return stream
    stream.flush()
    buffer = _Bearing(_Unread(stream.fileno(), "wb", closefd=False))
    # With PYTHONUNBUFFERED each line is written through as well.
    return io.TextIOWrapper(
        buffer, stream.encoding, stream.errors, line_buffering=stream.line_buffering or stream.write_through
    )
