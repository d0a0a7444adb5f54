"""Has Beam's local runner hand a stage its input piece by piece: a job of very many ranges holds each range's place
twice in place of five times.

What waits for a stage lies in pieces of some 10 MB. Beam writes all of them into one buffer, which it copies as a whole
twice, and reads it out into another copy. It concerns the whole process, so our own commands have it (see
`process_tuning`), and no user's pipeline.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from apache_beam.runners.portability.fn_api_runner import fn_runner
from apache_beam.runners.worker.data_plane import InMemoryDataChannel


def hand_over_in_pieces() -> None:
    """Patches Beam in this process, once. A release of Beam that works otherwise is left as it is."""
    send = getattr(fn_runner.BundleManager, "_send_input_to_worker", None)
    if send is not None and not hasattr(send, "__wrapped__"):
        fn_runner.BundleManager._send_input_to_worker = _in_pieces(send)


def _in_pieces(send: Callable[..., None]) -> Callable[..., None]:
    """Sends each piece by itself where nothing tells the last one: a worker in another process is told it."""

    @functools.wraps(send)
    def sent(manager: Any, bundle: str, step: str, pieces: Iterable[bytes] | None) -> None:
        if not isinstance(manager._worker_handler.data_conn, InMemoryDataChannel):
            send(manager, bundle, step, pieces)
            return
        for piece in pieces or ():
            send(manager, bundle, step, [piece])

    return sent
