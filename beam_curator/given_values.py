"""Numbers and switches as callers of the library give them: also NumPy's, and those of a YAML file."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np

from beam_curator.errors import UsageError


def is_number(value: Any) -> bool:
    """Tells whether a value is a finite number, of Python or of NumPy."""
    return isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_)) and math.isfinite(value)


def is_whole(value: Any) -> bool:
    """Tells whether a value is a whole number, of Python or of NumPy."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def plain(value: Any) -> Any:
    """A number of Python for one of NumPy, which is not written as JSON."""
    return value.item() if isinstance(value, np.generic) else value


def switch(given: Any, what: str) -> bool:
    """The True or False that a caller gave.

    Args:
      given: of Python or of NumPy.
      what: name of the argument, for messages.

    Raises:
      UsageError: for anything else, such as the text "no", which Python takes for true.
    """
    if isinstance(given, (bool, np.bool_)):
        return bool(given)
    raise UsageError(f"{what}={given!r}: True or False is wanted")
