"""Writes an object as one line with its constructor's arguments, by which it is told from others of its class."""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

_LONGEST = 200
"""Characters of an argument that are shown; what is longer is known by its digest."""


def made_with(kind: type, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """The arguments of a class's constructor that are not its defaults, such as "(side=32)"; "" where there are none.

    The text is the same for arguments that are given by position and by name. An argument that is no plain value, path,
    list, set, mapping or array is shown by its type alone.
    """
    given = _by_name(kind, args, kwargs)
    return f"({', '.join(f'{name}={_shown(value)}' for name, value in given.items())})" if given else ""


def check_takes(kind: type, base: type, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Raises TypeError where arguments are given to a class that has no constructor of its own, as Python does.

    Our base class takes all arguments to remember them, so that Python itself would not complain.

    Args:
      kind: the class that is to be constructed.
      base: our base class.
      args: positional arguments.
      kwargs: keyword arguments.
    """
    constructor, of_ours = (one.__init__ for one in (kind, base))  # type: ignore[misc]
    if (args or kwargs) and constructor in (of_ours, object.__init__):  # a protocol's takes turns with `object`'s
        raise TypeError(f"{kind.__name__}() takes no arguments")


def _by_name(kind: type, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    try:
        signature = inspect.signature(kind.__init__)  # type: ignore[misc]
        bound = signature.bind(None, *args, **kwargs).arguments
    except (TypeError, ValueError):  # not arguments of this class: its constructor says so
        return {**{str(place): value for place, value in enumerate(args)}, **kwargs}
    (itself, *_), defaults = signature.parameters, signature.parameters
    told = {name: value for name, value in bound.items() if name != itself}
    return {name: value for name, value in told.items() if _shown(value) != _shown(defaults[name].default)}


def _shown(value: Any) -> str:
    text = _text(value)
    return text if len(text) <= _LONGEST else f"<{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:16]}>"


def _text(value: Any) -> str:
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return repr(value)
    if isinstance(value, os.PathLike):
        return repr(os.fspath(value))
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, (set, frozenset)):
        return f"{{{', '.join(sorted(map(_text, value)))}}}"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_text(key)}: {_text(one)}' for key, one in value.items())}}}"
    if isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()[:16]
        return f"<{value.dtype}{list(value.shape)} {digest}>"
    return f"<{type(value).__module__}.{type(value).__qualname__}>"
