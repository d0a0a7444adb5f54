"""Ends a worker process of a runner when its device is lost, so that the runner starts another.

Beam would go on to give it bundles, each of which fails. A process of the user's own is not ended: there it is an
error like others.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator

from beam_curator.device_errors import DeviceLostError

_logger = logging.getLogger(__name__)


@contextlib.contextmanager
def ending_worker_of_lost_device() -> Iterator[None]:
    """Ends a runner's worker process, with exit code 1, when what is done within raises `DeviceLostError`."""
    try:
        yield
    except DeviceLostError as error:
        if is_runners_worker():
            _end(error)
        raise


def is_runners_worker() -> bool:
    """Tells whether Beam started this process to work for a runner: Beam's container, a worker pool or a local runner
    of several processes."""
    return any("apache_beam.runners.worker" in argument for argument in sys.orig_argv)


def _end(error: DeviceLostError) -> None:
    _logger.critical("%s; this worker process ends", error)
    print(f"beam_curator: {error}; this worker process ends", file=sys.stderr, flush=True)
    for handler in logging.getLogger().handlers:
        handler.close()  # Beam's sends what it has before it returns
    os._exit(1)
