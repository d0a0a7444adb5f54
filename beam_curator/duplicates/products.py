"""Dot products of unit vectors: on a CUDA device if there is one, else by NumPy. They only propose (see `semantic`)."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from beam_curator.process_tuning import has_gpu

Directions = NDArray[np.float32]
Proposing = Callable[[Directions, Directions], NDArray[np.float32]]
"""Dot products: float32 [n, dim] and [m, dim] to float32 [n, m]."""


def numpy_products(one: Directions, other: Directions) -> NDArray[np.float32]:
    """On the processor."""
    return np.asarray(one @ other.T)


_limit = threading.Lock()
_limited: list[Any] = []
_users = 0


@contextlib.contextmanager
def one_thread_a_product() -> Iterator[None]:
    """While the block runs, in any thread of the process, the BLAS computes each product in the thread that asks for
    it: threads work on cells, and would wait for each other."""
    global _users
    with _limit:
        _users += 1
        if _users == 1:
            _limited.append(threadpool_limits(1, "blas"))
    try:
        yield
    finally:
        with _limit:
            _users -= 1
            if not _users:
                _limited.pop().restore_original_limits()


def best_products() -> Proposing:
    """Those of the fastest device there is; nothing heavy is imported to find that there is none."""
    if not has_gpu():
        return numpy_products
    import torch

    return torch_products(torch, "cuda") if torch.cuda.is_available() else numpy_products


_alone = threading.Lock()  # what is set is the process's, not the thread's


def torch_products(torch: Any, device: str) -> Proposing:
    """On a device of torch's, in float32 as IEEE 754 has it: TensorFloat-32 is off by more than is allowed for.

    Args:
      torch: the module.
      device: "cuda", or "cpu".
    """

    def products(one: Directions, other: Directions) -> NDArray[np.float32]:
        with _alone, torch.inference_mode():
            before = torch.backends.cuda.matmul.allow_tf32
            torch.backends.cuda.matmul.allow_tf32 = False
            try:
                left, right = (torch.from_numpy(side).to(device) for side in (one, other))
                return np.asarray((left @ right.T).cpu().numpy())
            finally:
                torch.backends.cuda.matmul.allow_tf32 = before

    return products
