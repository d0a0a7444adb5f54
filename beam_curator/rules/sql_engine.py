"""DuckDB as the engine of conditions: it sees the rows of one batch, and nothing else.

No files, no network, no extensions, one thread; and arithmetic that is the same in all its versions.
"""

from __future__ import annotations

import contextlib
import re
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

_HERE = threading.local()


def connection() -> duckdb.DuckDBPyConnection:
    """Gives this thread its own database, in memory."""
    if not hasattr(_HERE, "connection"):
        settings: dict[str, Any] = {
            "threads": 1,
            "enable_external_access": False,
            "autoload_known_extensions": False,
            "autoinstall_known_extensions": False,
            "allow_community_extensions": False,
        }
        made = duckdb_module().connect(":memory:", config=settings)
        _set_arithmetic(made)
        made.execute("SET lock_configuration = true")
        _HERE.connection = made
    return _HERE.connection


def _set_arithmetic(made: duckdb.DuckDBPyConnection) -> None:
    """A division by zero is NULL, and the logarithm of nothing an error: as DuckDB 2 has it, NaN or infinity, they
    would be greater than any threshold."""
    made.execute("SET ieee_floating_point_ops = false")
    with contextlib.suppress(duckdb_module().CatalogException):  # DuckDB 1 knows no other way
        made.execute("SET error_on_division_by_zero = false")


def duckdb_module() -> Any:
    """The library."""
    import duckdb  # half a second, and most jobs have no condition

    return duckdb


def first_line(error: Any) -> str:
    """Takes the first line of an error of DuckDB's, without its kind."""
    line = str(error).split("\n")[0]
    return re.sub(r"^(Binder|Parser|Catalog|Conversion|Invalid Input|Out of Range) Error: ", "", line)
