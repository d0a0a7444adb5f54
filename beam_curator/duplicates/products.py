"""Dot products of unit vectors: on a CUDA device if there is one, else by NumPy. They only propose (see `semantic`), so
that it changes nothing where they are computed."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from beam_curator.device_errors import DeviceLostError, is_in_fork_of_cuda, is_lost, wants_memory
from beam_curator.errors import first_line
from beam_curator.process_tuning import has_gpu
from beam_curator.tf32 import no_tf32

_logger = logging.getLogger(__name__)

Directions = NDArray[np.float32]
Proposing = Callable[[Directions, Directions], NDArray[np.float32]]
"""Dot products: float32 [n, dim] and [m, dim] to float32 [n, m]."""


def numpy_products(one: Directions, other: Directions) -> NDArray[np.float32]:
    """Multiplies on the processor."""
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
    """Chooses the products of the fastest device there is; nothing heavy is imported to find that there is none."""
    if not has_gpu():
        return numpy_products
    import torch

    if not torch.cuda.is_available() or is_in_fork_of_cuda():
        return numpy_products
    return where_it_fits(torch_products(torch, "cuda"), "cuda")


def where_it_fits(on_device: Proposing, device: str) -> Proposing:
    """Products on a device, and on the processor once the device has no memory for them: what embeds may hold it.

    Raises:
      DeviceLostError: by a call, where the device is lost.
    """
    full = threading.Event()

    def products(one: Directions, other: Directions) -> NDArray[np.float32]:
        if not full.is_set():
            try:
                return on_device(one, other)
            except Exception as error:
                if is_lost(device):
                    raise DeviceLostError.after(error, device, "comparing embeddings") from error
                if not wants_memory(error):
                    raise
                if not full.is_set():
                    _logger.warning(
                        "embeddings are compared on the processor: device '%s' has no memory for it (%s)",
                        device,
                        first_line(error),
                    )
                full.set()
        return numpy_products(one, other)

    return products


_alone = threading.Lock()  # so that vectors of one product at a time are on the device


def torch_products(torch: Any, device: str) -> Proposing:
    """Makes products on a device of torch's, in float32 as IEEE 754 has it: TensorFloat-32 is off by more than is
    allowed for.

    Args:
      torch: the module.
      device: "cuda", or "cpu".
    """

    def products(one: Directions, other: Directions) -> NDArray[np.float32]:
        with _alone, torch.inference_mode(), no_tf32():
            left, right = (torch.from_numpy(side).to(device) for side in (one, other))
            return np.asarray((left @ right.T).cpu().numpy())

    return products
