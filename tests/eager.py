"""A transform as a function: list in, list out."""

import uuid

import apache_beam as beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

_GIVEN: dict[str, list] = {}


def eager(transform, elements=None):
    """Runs a transform, or a chain of them, on these elements; gives what comes out. Without elements it begins the
    pipeline itself.

    It runs on the FnApiRunner, in this process. What comes is what the last step gave, which no coder has seen: the
    bytes of a batch are still there. Without a shuffle in between, the order is that of the elements.
    """
    run = uuid.uuid4().hex
    _GIVEN[run] = []
    try:
        with beam.Pipeline(runner=FnApiRunner()) as pipeline:
            begin = pipeline if elements is None else pipeline | "Elements" >> beam.Create(elements, reshuffle=False)
            begin | "Transform" >> transform | "Given" >> beam.Map(_take, run)
        return _GIVEN[run]
    finally:
        del _GIVEN[run]


def _take(element, run):
    _GIVEN[run].append(element)
