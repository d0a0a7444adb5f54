"""Makes what every benchmark prints: on which machine it ran, and tables in Markdown."""

import importlib.metadata
import platform
import re
from collections.abc import Sequence
from pathlib import Path

import psutil

from beam_curator.process_tuning import usable_cores

PACKAGES = ("beam-curator", "apache-beam", "torch", "open_clip_torch", "pillow")


def machine() -> str:
    """The machine and the software that the figures belong to, and how busy the machine was before."""
    versions = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    memory_gb = psutil.virtual_memory().total / 1e9
    return (
        f"{_processor()}, {usable_cores()} cores, {memory_gb:.0f} GB, {platform.system()} {platform.machine()}; "
        f"Python {platform.python_version()}, {versions}; load average {psutil.getloadavg()[0]:.1f} at the start"
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    return found[1] if found else platform.processor() or "unknown processor"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table that reads well as plain text; all columns but the first are right-aligned."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        return f"| {' | '.join(padded)} |"

    rules = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(header), line(rules), *map(line, rows)])
