"""The files of a report in an output directory: what they are called, and whether they are ours."""

from __future__ import annotations

from collections.abc import Mapping

from beam_curator import json_text
from beam_curator.errors import UsageError
from beam_curator.storage import files, urls

PAGE, FIGURES = REPORT_FILES = ("report.html", "report.json")

GENERATOR = "Beam Curator report"
"""The name by which a page and its figures say that they were made: so they are told from others of their names."""

_MADE = f'<meta name="generator" content="{GENERATOR}">'.encode()
_HEAD_BYTES = 4096


def check_own_report(output: str) -> None:
    """Raises UsageError where a file that is no report of ours stands in the place of one."""
    for url in _there(output):
        if not is_report(url):
            raise UsageError(f"{url} is no report of Beam Curator's: move it away, and run the same command again")


def remove_report(output: str) -> None:
    """Removes a report of ours, which tells of a selection that is going to be replaced.

    Raises:
      StorageError: when it cannot be removed, after retries.
    """
    files.delete([url for url in _there(output) if is_report(url)])


def report_names(output: str) -> set[str]:
    """The names of the files of a report of ours that stand there.

    Raises:
      StorageError: when one cannot be read, after retries.
    """
    return {url.rpartition("/")[2] for url in _there(output) if is_report(url)}


def _there(output: str) -> list[str]:
    return [url for name in REPORT_FILES if files.exists(url := urls.join(output, name))]


def is_report(url: str) -> bool:
    """Tells whether a file is a page or the figures of a report of ours.

    Raises:
      StorageError: when it cannot be read, after retries.
    """
    content = files.read_bytes(url)
    if url.endswith(PAGE):
        return _MADE in content[:_HEAD_BYTES]
    try:
        told = json_text.loads(content)
    except ValueError:
        return False
    return isinstance(told, Mapping) and told.get("generator") == GENERATOR
