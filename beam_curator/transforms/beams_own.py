"""Beam's own composites, under the pipeline options that not all of their inner steps are made for."""

from __future__ import annotations

import collections
import contextlib
import functools
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import apache_beam as beam
from apache_beam.options.pipeline_options import TypeOptions
from apache_beam.pvalue import DoOutputsTuple
from apache_beam.transforms.window import GlobalWindows
from apache_beam.typehints.native_type_compatibility import convert_to_beam_type

from beam_curator.errors import UsageError

Key = TypeVar("Key")
Value = TypeVar("Value")


@contextlib.contextmanager
def inner_steps_untyped(pipeline: beam.Pipeline) -> Iterator[None]:
    """Keeps --type_check_strictness ALL_REQUIRED, while a composite of Beam's is expanded, from asking its inner steps
    for types, which Beam did not give them; the composite itself is asked."""
    options = pipeline.options.view_as(TypeOptions)
    strictness, options.type_check_strictness = options.type_check_strictness, "DEFAULT_TO_ANY"
    try:
        yield
    finally:
        options.type_check_strictness = strictness


def check_one_window(given: beam.pvalue.PCollection, step: str) -> None:
    """Raises UsageError where a step that looks at all of a job is given windows, of which it would see each alone."""
    if not isinstance(given.windowing.windowfn, GlobalWindows):
        raise UsageError(
            f"{step} takes a whole job, in the global window, and is given {type(given.windowing.windowfn).__name__}: "
            "put beam.WindowInto(beam.window.GlobalWindows()) before it"
        )


MAIN = "main"
"""The tag of a step's main output."""


class Tagged(beam.PTransform):
    """A step with several outputs, each of a type, by its tag.

    With `--runtime_type_check` Beam holds an element of any tag against the type of the step's main output, so that
    this one is told as all of them, and made the narrow one that it is when the step has been applied.

    Args:
      step: what gives them.
      main: the type of its main output, whose tag is `MAIN`.
      **types: of the others, by their tags.
    """

    def __init__(self, step: beam.ParDo, main: Any, **types: Any) -> None:
        super().__init__()
        self._step, self._main, self._types = step, main, types

    def expand(self, given: beam.PCollection[Any]) -> DoOutputsTuple:
        any_of_them = functools.reduce(operator.or_, self._types.values(), self._main)
        step = self._step.with_output_types(any_of_them, **self._types)
        tagged = step.with_outputs(*self._types, main=MAIN)
        outputs = given | tagged.with_output_types(any_of_them, **self._types)
        outputs[MAIN].element_type = convert_to_beam_type(self._main)
        return outputs


def total_aside(fn: Any, values: beam.PCollection[Any], label: str) -> beam.pvalue.AsSingleton:
    """The sum of all values as a side input; without any value, what `fn` gives for none.

    `CombineGlobally` gives it as a PCollection as well, which takes four steps and a stage more."""
    fn = beam.CombineFn.maybe_from_callable(fn)
    with inner_steps_untyped(values.pipeline):
        total = values | label >> beam.CombineGlobally(fn).without_defaults()
    return beam.pvalue.AsSingleton(total, default_value=fn.apply([]))


class Once(beam.PTransform):
    """Calls a function once: takes the pipeline, gives one element, of the type that is told.

    Args:
      gives: the type.
      function: what is called.
      *arguments: its arguments, side inputs among them.
    """

    def __init__(self, gives: Any, function: Callable[..., Any], *arguments: Any) -> None:
        super().__init__()
        self._gives, self._function, self._arguments = gives, function, arguments

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[Any]:
        call = beam.Map(_called, self._function, *self._arguments).with_output_types(self._gives)
        return begin | beam.Impulse() | "Call" >> call


def _called(_: bytes, function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def gathered(pairs: Iterable[tuple[Key, Value]]) -> collections.defaultdict[Key, list[Value]]:
    """Values in memory grouped by key, as GroupByKey does it."""
    found: collections.defaultdict[Key, list[Value]] = collections.defaultdict(list)
    for key, value in pairs:
        found[key].append(value)
    return found
