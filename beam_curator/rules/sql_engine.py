"""DuckDB as the engine of conditions: it sees the rows of one batch, and nothing else.

No files, no network, no extensions, one thread.
"""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

_HERE = threading.local()


def connection() -> duckdb.DuckDBPyConnection:
    """This thread's own database, in memory."""
    if not hasattr(_HERE, "connection"):
        settings: dict[str, Any] = {
            "threads": 1,
            "enable_external_access": False,
            "autoload_known_extensions": False,
            "autoinstall_known_extensions": False,
            "allow_community_extensions": False,
            "lock_configuration": True,
        }
        _HERE.connection = duckdb_module().connect(":memory:", config=settings)
    return _HERE.connection


def duckdb_module() -> Any:
    """The library."""
    import duckdb  # half a second, and most jobs have no condition

    return duckdb


def first_line(error: Any) -> str:
    """What DuckDB says is wrong, in one line."""
    line = str(error).split("\n")[0]
    return re.sub(r"^(Binder|Parser|Catalog|Conversion|Invalid Input|Out of Range) Error: ", "", line)
