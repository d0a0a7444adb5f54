"""Sparing the garbage collector what has come to stay."""

from __future__ import annotations

import gc

MANY_OBJECTS = 50_000


def spare_what_is_loaded() -> None:
    """Has the garbage collector pass over what the process has loaded by now: modules, models, the pipeline.

    It looks at every object now and then, more often where many are made: with Beam and torch loaded that takes 0.2
    seconds, in which nothing else runs Python; it was half of the time of copying small samples. What is passed over
    is freed as ever when nothing refers to it, unless it refers to itself; what is garbage already goes before. Where
    there is little to pass over, or it was done before, nothing happens.
    """
    if len(gc.get_objects()) > MANY_OBJECTS:  # those that are not passed over yet
        gc.collect()
        gc.freeze()
