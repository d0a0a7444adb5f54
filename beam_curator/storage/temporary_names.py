"""Names under `_tmp`, the directory of an output directory for what is not whole yet."""

from __future__ import annotations

import re
import uuid

TEMPORARY = "_tmp"
"""The directory under an output directory that holds what is not whole yet."""

LEASE = "lease.json"
"""The file in `TEMPORARY` that says which job may write to the output directory: see `output.lease`."""

_TEMPORARY_NAME = re.compile(r".+\.[0-9a-f]{32}")


def temporary_name(name: str) -> str:
    """A name for a half-written file that no other attempt has: NAME, a dot and 32 hexadecimal digits."""
    return f"{name}.{uuid.uuid4().hex}"


def final_name(temporary: str) -> str:
    """The name that `temporary_name` was given."""
    return temporary.rpartition(".")[0]


def is_half_written(path: str) -> bool:
    """Tells whether a path under an output directory is that of a half-written file, or of the lease."""
    place, _, name = path.rpartition("/")
    return place == TEMPORARY and (name == LEASE or _TEMPORARY_NAME.fullmatch(name) is not None)
