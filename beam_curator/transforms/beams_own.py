"""Beam's own composites, under the pipeline options that not all of their inner steps are made for."""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import apache_beam as beam
from apache_beam.options.pipeline_options import TypeOptions

Key = TypeVar("Key")
Value = TypeVar("Value")


@contextlib.contextmanager
def inner_steps_untyped(pipeline: beam.Pipeline) -> Iterator[None]:
    """While such a composite is expanded, --type_check_strictness ALL_REQUIRED does not ask its inner steps for types,
    which Beam did not give them; the composite itself is asked."""
    options = pipeline.options.view_as(TypeOptions)
    strictness, options.type_check_strictness = options.type_check_strictness, "DEFAULT_TO_ANY"
    try:
        yield
    finally:
        options.type_check_strictness = strictness


MAIN = "main"
"""The tag of a step's main output."""


def tagged(step: beam.ParDo, main: Any, **types: Any) -> beam.PTransform:
    """A step with several outputs, each of a type, by its tag."""
    outputs = step.with_output_types(main, **types).with_outputs(*types, main=MAIN)
    return outputs.with_output_types(main, **types)


def gathered(pairs: Iterable[tuple[Key, Value]]) -> collections.defaultdict[Key, list[Value]]:
    """What GroupByKey gives, of pairs in memory."""
    found: collections.defaultdict[Key, list[Value]] = collections.defaultdict(list)
    for key, value in pairs:
        found[key].append(value)
    return found
