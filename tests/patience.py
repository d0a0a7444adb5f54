"""Limits that no loaded machine meets: only what hangs, or computes for ever, does."""

import contextlib
import time

HANG_SECONDS = 600
"""What has not happened by then never will."""

NO_MORE_THAN_CPU_SECONDS = 60
"""What takes milliseconds has not computed for so long, whoever else computes meanwhile."""


@contextlib.contextmanager
def little_computing():
    """Fails where the block computes for long: by the process's own CPU time, which others' work does not lengthen."""
    started = time.process_time()
    yield
    assert time.process_time() - started < NO_MORE_THAN_CPU_SECONDS
