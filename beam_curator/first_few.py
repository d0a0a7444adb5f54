"""Counts and long lists as people read them: the first few, and how many more there are."""

from __future__ import annotations

from collections.abc import Sequence

SHOWN = 20


def counted(number: int, noun: str, several: str = "") -> str:
    """`1 file`, `2 files`; with `several` where more of them are not called so with an s."""
    return f"{number:,} {noun if number == 1 else several or f'{noun}s'}"


def size_text(size: float) -> str:
    """Bytes as people say them: `14.5 MB`."""
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def listed(names: Sequence[str], shown: int = SHOWN, separator: str = ", ") -> str:
    """`a, b, c and 5 more`."""
    left = len(names) - shown
    text = separator.join(names[:shown])
    return f"{text} and {left:,} more" if left > 0 else text


def lines_of(lines: Sequence[str], indent: str = "", where: str = "", shown: int = SHOWN) -> list[str]:
    """The first lines, and one that says how many more there are, and where they are found."""
    left = len(lines) - shown
    rest = [f"{indent}... and {left:,} more{where}"] if left > 0 else []
    return [*lines[:shown], *rest]
