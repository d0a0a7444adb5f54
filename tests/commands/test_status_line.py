"""The line that says how far a job is, on terminals of many kinds."""

import fcntl
import functools
import io
import os
import pty
import select
import struct
import termios
import threading

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_curator.commands import interruption, progress_elsewhere
from beam_curator.commands.progress_line import ProgressLine
from beam_curator.commands.status_line import StatusLine
from beam_curator.progress import BOARD
from tests.patience import HANG_SECONDS

show = StatusLine.show
LINE = "scoring: 1,204,000 images, 2,345 images/s, 12 failed, 45%, 2h 05m left"


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 20 columns: a stream to it, and what checks what it is given next."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("COLUMNS", raising=False)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 5, 20, 0, 0))
    with os.fdopen(theirs, "w") as stream:
        yield stream, functools.partial(assert_given, ours)
    os.close(ours)


def assert_given(ours, wanted):
    """Asserts that a terminal was given this and nothing else: what is written comes in pieces."""
    found = b""
    while len(found) < len(wanted.encode()) and select.select([ours], [], [], HANG_SECONDS)[0]:
        found += os.read(ours, 10_000)
    assert found.decode() == wanted


def test_a_line_is_no_longer_than_its_terminal_is_wide(terminal):
    stream, given = terminal
    StatusLine(stream).show(LINE)
    given("\r\x1b[Kscori...2h 05m left")
    assert len("scori...2h 05m left") == 19


def test_a_terminal_that_becomes_wider_shows_more(terminal):
    stream, given = terminal
    status = StatusLine(stream)
    status.show(LINE)
    given("\r\x1b[Kscori...2h 05m left")
    fcntl.ioctl(stream.fileno(), termios.TIOCSWINSZ, struct.pack("HHHH", 5, 200, 0, 0))
    status.show(LINE)
    given(f"\r\x1b[K{LINE}")


@pytest.mark.parametrize(
    ("columns", "shown"),
    [("30", "scoring:..., 45%, 2h 05m left"), ("1", "."), ("3", ".."), ("5", "...t"), ("x", "scori...2h 05m left")],
)
def test_columns_says_how_wide_it_is_where_it_is_a_number(columns, shown, terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    stream, given = terminal
    StatusLine(stream).show(LINE)
    given(f"\r\x1b[K{shown}")


def test_on_a_terminal_that_cannot_write_a_line_anew_lines_are_plain(terminal, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    stream, given = terminal
    status = StatusLine(stream)
    status.show(LINE)
    status.end()
    given(f"{LINE}\r\n")
    assert not status.live
    assert interruption.clearing(stream) == ""


def test_a_terminal_from_which_the_line_is_gone_is_left_alone(terminal):
    stream, given = terminal
    status = StatusLine(stream)
    status.show("1")
    status.end()
    status.end()
    given("\r\x1b[K1\r\x1b[K")


@pytest.mark.parametrize("terminal", [True, False])
def test_what_nobody_reads_any_more_ends_no_job(terminal):
    class Gone(io.StringIO):
        def isatty(self):
            return terminal

        def write(self, text):
            raise BrokenPipeError

    status = StatusLine(Gone())
    status.show(LINE)
    status.end()


@pytest.fixture
def shown(monkeypatch):
    """Set once a line is shown: the first alone, for a terminal that nobody reads has no room for many."""
    event = threading.Event()

    def show_once(self, line):
        if not event.is_set():
            show(self, line)
            event.set()

    monkeypatch.setattr(StatusLine, "show", show_once)
    return event


def test_a_job_here_is_shown_so(terminal, shown):
    stream, given = terminal
    with ProgressLine(1000, stream, live_seconds=0.001), BOARD.loading("ViT-L-14-quickgelu--openai"):
        assert shown.wait(HANG_SECONDS)
    given("\r\x1b[Kloadi...elu--openai\r\x1b[K")


def test_a_job_elsewhere_is_shown_so(terminal, shown, monkeypatch):
    stream, given = terminal
    monkeypatch.setattr(progress_elsewhere, "ASK_SECONDS", 0.001)
    options = PipelineOptions(runner="FlinkRunner")
    with progress_elsewhere.shown_of_runner(None, options, "out", 0, 0, stream):
        assert shown.wait(HANG_SECONDS)
    given("\r\x1b[KFlink... counts yet\r\x1b[K")
