"""Settings of the whole process: the garbage collector passes over what is loaded, malloc keeps what is freed.

They concern all that runs in the process, so nothing here happens until `turn_on` is called: a library does not change
its user's process unasked. Our own commands call it; a program of your own that does nothing else may do so as well,
before it builds its pipeline:

    from beam_curator import process_tuning
    process_tuning.turn_on()

The switch travels with the steps that are made while it is on, so that workers are tuned as the process that launched
them. It changes how long a job takes, and no byte of what it writes. How many threads torch computes with is no such
setting: `models.encoders.cpu_stream` sets it for its own threads alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import threadpoolctl  # type: ignore[import-untyped]

_MB = 1 << 20

_on = False


def usable_cores() -> int:
    """Counts the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def turn_on(wanted: bool = True) -> None:
    """Lets this process be tuned, and the workers of pipelines that are built in it from now on.

    Args:
      wanted: what a step carried here from the process that made it; False changes nothing.
    """
    global _on
    _on = _on or wanted


def has_gpu() -> bool:
    """Tells whether this machine has a GPU of NVIDIA's; nothing is imported, and nothing started, to find out."""
    return Path("/dev/nvidiactl").exists()


_processes = 1


def share_machine(processes: int) -> None:
    """Tells that so many processes of a job work on this machine, this one among them: each takes its share of the
    cores for decoding and encoding, and of a GPU's memory. Like the switch, it travels with the steps."""
    global _processes
    _processes = max(1, processes)


def sharing_processes() -> int:
    """Counts the processes that share this machine."""
    return _processes


def share_of_cores() -> int:
    """Counts the cores that are this process's own share: at least one."""
    return max(1, usable_cores() // _processes)


def is_on() -> bool:
    """Tells whether this process may be tuned."""
    return _on


# (parameter of mallopt, value): glibc's <malloc.h> has the numbers. The first two are what malloc sets by itself where
# much is freed at once; setting the third keeps it from doing so.
_SETTINGS = {
    "M_MMAP_THRESHOLD": (-3, 32 * _MB),
    "M_TRIM_THRESHOLD": (-1, 64 * _MB),
    "M_TOP_PAD": (-2, 64 * _MB),  # as large as one of a thread's heaps: none of them is given back when it is empty
}


def keep_freed_memory() -> bool:
    """Has glibc's malloc keep what a thread frees for what it needs next.

    Its defaults give the kernel back what a layer of a model leaves, and take it again for the next one: each page of
    4 KB then is a fault, and zeroed. That was 8 % of the time of ViT-L/14 on two cores. A thread's heaps stay as large
    as they ever were; what is above 32 MB, in one piece, may still be given back. It holds for the whole process.
    Other C libraries are left as they are.

    Returns:
      Whether it was done.
    """
    if not _on:
        return False
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(parameter, value) for parameter, value in _SETTINGS.values())


def keep_products_in_their_threads() -> None:
    """Has the BLAS that NumPy uses compute each product in the thread that asks for it.

    By default a product is shared out to as many threads as there are cores, which wait for each other by turning
    round. Where several threads score at a time, or others decode, that is slower than one core by itself: several
    times, where the matrices are small. A user's own head in float32 gives the same bits on any number of cores.
    """
    if _on:
        threadpoolctl.threadpool_limits(1, "blas")


MANY_OBJECTS = 50_000


def spare_what_is_loaded() -> None:
    """Has the garbage collector pass over what the process has loaded by now: modules, models, the pipeline.

    It looks at every object now and then, more often where many are made: with Beam and torch loaded that takes 0.2
    seconds, in which nothing else runs Python; it was half of the time of copying small samples. What is passed over
    is freed as ever when nothing refers to it, unless it refers to itself; what is garbage already goes before. Where
    there is little to pass over, or it was done before, nothing happens.
    """
    if _on and len(gc.get_objects()) > MANY_OBJECTS:  # those that are not passed over yet
        gc.collect()
        gc.freeze()


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Pauses the garbage collector while the block runs, where the process may be tuned and it was on.

    For what makes millions of objects that stay, none of which refers to itself: the collector would look at all of
    them again and again, which is 40 % of the time that a million shards take. Decorates a function as well.
    """
    if not _on or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
