"""Products of fp32 on a GPU in full precision. By default torch lets cuDNN compute convolutions in TensorFloat-32,
which keeps 10 of the 23 bits of the mantissa, and a program may have allowed it for all products."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

_lock = threading.Lock()
_users = 0
_before: list[tuple[Any, str, Any]] = []


@contextlib.contextmanager
def no_tf32() -> Iterator[None]:
    """Keeps all threads of the process from computing in TensorFloat-32 while the block runs in any of them. The
    setting is the whole process's: the last thread that leaves sets again what the program had set."""
    global _users
    with _lock:
        if not _users:
            _before[:] = _turned_off()
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                for where, name, was in _before:
                    setattr(where, name, was)


def _turned_off() -> list[tuple[Any, str, Any]]:
    """Turns TensorFloat-32 off; gives the settings of before."""
    import torch

    cudnn: Any = torch.backends.cudnn  # torch tells no types of it
    matmul: Any = torch.backends.cuda.matmul
    try:
        return _set([(cudnn, "allow_tf32", False), (matmul, "allow_tf32", False)])
    except RuntimeError:  # of torch 2.9 and later, where a program has set what takes the place of these
        newer = (matmul, cudnn.conv, cudnn.rnn)
        return _set([(where, "fp32_precision", "ieee") for where in newer])


def _set(settings: Sequence[tuple[Any, str, Any]]) -> list[tuple[Any, str, Any]]:
    before = [(where, name, getattr(where, name)) for where, name, _ in settings]
    for where, name, value in settings:
        setattr(where, name, value)
    return before
