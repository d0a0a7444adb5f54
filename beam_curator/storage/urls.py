"""Names of files and directories as text: local paths, and urls of what is elsewhere."""

from __future__ import annotations

import os
import pathlib


def is_remote(url: str) -> bool:
    """Tells whether this names something outside the local file system."""
    return "://" in url


def join(*parts: str) -> str:
    """The url of a file in a directory, local or in a bucket; of a scheme that nobody knows as well."""
    if not is_remote(parts[0]):
        return os.path.join(*parts)  # noqa: PTH118 (pathlib would take "." and "//" out of what the user wrote)
    return "/".join([parts[0].rstrip("/"), *(part.lstrip("/") for part in parts[1:])])


def absolute(path: str) -> str:
    """The path as it is understood in any working directory: workers may have another one."""
    return path if is_remote(path) else str(pathlib.Path(path).expanduser().absolute())
