"""Standard output and error that somebody stops to read (`beam-curator curate ... | head`), or that take no more.

A command goes on when what it says goes nowhere. Its exit code tells how its work ended where a reader has left, who
has read what they wanted; what goes into a file that takes no more (a full disk) is an answer that is lacking: the
command says so in a line, and fails.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Any, TextIO


class _Unread(io.FileIO):
    """A file descriptor that may take no more: what is written to it then is lost, and told at the end."""

    lost: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return memoryview(data).nbytes
        except OSError as error:
            self.lost = error
            return memoryview(data).nbytes


class _Bearing(io.BufferedWriter):
    """Its buffer."""


def bear_with_readers_that_leave() -> None:
    """Has this process's standard output and error bear with a reader that is gone, or was never there (`>&-`)."""
    sys.stdout, sys.stderr = _bearing(sys.stdout), _bearing(sys.stderr)


def exit_code(program: str, code: int) -> int:
    """Gives the exit code of a command that ends now with `code`: a failure where what it printed is not all out.

    Args:
      program: what its messages begin with.
      code: how its work ended.
    """
    if sys.stdout is None:
        return code
    with contextlib.suppress(OSError, ValueError):  # lost below; closed by the command itself
        sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if not isinstance(raw, _Unread) or raw.lost is None:
        return code
    print(f"{program}: cannot write to the standard output: {raw.lost.strerror}", file=sys.stderr)
    raw.lost = None
    return code or 1


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
