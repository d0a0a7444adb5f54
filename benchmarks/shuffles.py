"""Counts what a pipeline sends through its shuffles, where the local runner groups it."""

import collections
import contextlib
import sys
from collections.abc import Iterator
from typing import Any
from unittest import mock

from apache_beam.runners.portability.fn_api_runner import execution

from beam_curator.transforms import spilling

Shuffled = collections.Counter[str]
"""Bytes, by the step that groups them."""


@contextlib.contextmanager
def counted() -> Iterator[Shuffled]:
    """Counts what pipelines send that run on the local runner while the block does: their elements as coders write
    them, keys among them, none of which is left on disk meanwhile."""
    found: Shuffled = collections.Counter()
    steps: dict[int, str] = {}
    get_buffer, append = execution.BundleContextManager.get_buffer, execution.GroupingBuffer.append

    def naming(manager: Any, buffer_id: bytes, transform_id: str) -> Any:
        buffer = get_buffer(manager, buffer_id, transform_id)
        if isinstance(buffer, execution.GroupingBuffer):
            step = execution.split_buffer_id(buffer_id)[1]
            transform = manager.execution_context.pipeline_components.transforms[step]
            steps[id(buffer)] = transform.unique_name
        return buffer

    def counting(buffer: execution.GroupingBuffer, elements: bytes) -> None:
        found[steps[id(buffer)]] += len(elements)
        append(buffer, elements)

    with (
        mock.patch.object(execution.BundleContextManager, "get_buffer", naming),
        mock.patch.object(execution.GroupingBuffer, "append", counting),
        mock.patch.object(spilling, "_LEAST_BYTES", sys.maxsize),
    ):
        yield found
