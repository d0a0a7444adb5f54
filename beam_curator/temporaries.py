"""Temporary directories that are removed with their process, also when Ctrl-C ends it without unwinding its stack."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_there: list[str] = []


@contextlib.contextmanager
def temporary_directory(prefix: str, within: Path | None = None) -> Iterator[str]:
    """A new directory, which is there while the block runs: among the system's temporary ones, or `within` another."""
    directory = tempfile.mkdtemp(prefix=prefix, dir=within)
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


def remove_all() -> None:
    """Removes all that is there, for a process that ends at once."""
    for directory in list(_there):
        _remove(directory)


def _remove(directory: str) -> None:
    shutil.rmtree(directory, ignore_errors=True)  # whoever writes there may not have ended yet
