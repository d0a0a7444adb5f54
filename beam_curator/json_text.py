"""JSON that others wrote, which may be anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 200
"""The most lists and objects in each other. Python gives up at a depth that depends on its version and on who asks."""


def loads(content: str | bytes, **keywords: Any) -> Any:
    """Parses JSON as `json.loads` does, which takes the same keywords.

    Raises:
      ValueError: for what is no JSON, or is nested more than `MAX_DEPTH` deep.
    """
    try:
        found = json.loads(content, **keywords)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    if _brackets(content) > MAX_DEPTH and _is_deeper(found, MAX_DEPTH):
        raise ValueError(_TOO_DEEP)
    return found


_TOO_DEEP = f"lists and objects are nested more than {MAX_DEPTH} deep"


def _brackets(content: str | bytes) -> int:
    """No JSON is nested deeper than it has brackets that open."""
    if isinstance(content, str):
        return content.count("[") + content.count("{")
    return content.count(b"[") + content.count(b"{")


def _is_deeper(value: Any, depth: int) -> bool:
    level = [value] if isinstance(value, (Mapping, list)) else []
    for _ in range(depth):
        level = [inner for one in level for inner in _inside(one)]
    return bool(level)


def _inside(value: Mapping[str, Any] | list[Any]) -> list[Any]:
    """The lists and objects in one."""
    inner = value.values() if isinstance(value, Mapping) else value
    return [one for one in inner if isinstance(one, (Mapping, list))]
