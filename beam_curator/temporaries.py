"""Temporary directories that are removed with their process, also when Ctrl-C ends it without unwinding its stack."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_there: list[str] = []

_WORKERS_MAKE_THEIRS_IN = "BEAM_CURATOR_WORKERS_TEMPORARIES"
"""The variable of worker processes that names a directory of the process that started them."""


@contextlib.contextmanager
def temporary_directory(prefix: str, within: Path | None = None) -> Iterator[str]:
    """A new directory, which is there while the block runs: among the system's temporary ones, or `within` another."""
    directory = tempfile.mkdtemp(prefix=prefix, dir=within or os.environ.get(_WORKERS_MAKE_THEIRS_IN))
    _there.append(directory)
    try:
        yield directory
    finally:
        _there.remove(directory)
        _remove(directory)


@contextlib.contextmanager
def temporary_file(text: str, suffix: str) -> Iterator[str]:
    """A new file with this text, which nobody else may read, while the block runs."""
    with temporary_directory("beam-curator-") as directory:
        path = Path(directory, f"file{suffix}")
        path.write_text(text, encoding="utf-8")
        yield str(path)


@contextlib.contextmanager
def of_workers() -> Iterator[None]:
    """Has worker processes that the block starts make their temporary files in a directory of this process, which goes
    when the block ends: they may be killed, and remove nothing. There goes as well what this process makes meanwhile:
    the server that Beam starts for them removes none of its own."""
    before = tempfile.tempdir
    with temporary_directory("beam-curator-workers-") as directory:
        os.environ[_WORKERS_MAKE_THEIRS_IN] = tempfile.tempdir = directory
        try:
            yield
        finally:
            del os.environ[_WORKERS_MAKE_THEIRS_IN]
            tempfile.tempdir = before


def adopt(directory: str) -> None:
    """Has `remove_all` remove a directory as well that somebody else has made, and removes where nothing stops him."""
    _there.append(directory)


def remove_all() -> None:
    """Removes all that is there, for a process that ends at once."""
    for directory in list(_there):
        _remove(directory)


def _remove(directory: str) -> None:
    shutil.rmtree(directory, ignore_errors=True)  # whoever writes there may not have ended yet
