"""A row's other columns as the sample's .json member."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def json_member(fields: Mapping[str, Any]) -> bytes:
    """The fields as JSON in UTF-8, the same bytes for the same values: dates and decimals as text, and null for
    numbers that JSON has no words for."""
    return json.dumps(_plain(fields), ensure_ascii=False, allow_nan=False, default=str).encode("utf-8", "replace")


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value
