"""Beam's own composites, under the pipeline options that not all of their inner steps are made for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import TypeOptions


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
