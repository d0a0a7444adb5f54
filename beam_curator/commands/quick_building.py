"""Remembers what Beam works out again and again while a job is built: that saves some 2.5 seconds of a core for each
job.

Beam reads the signature of every method of a DoFn some dozen times, looks through all of them for state and timers as
often, and parses all flags anew, with a new parser, for each look at an option: nine hundred times a job. The answers
are always the same. It concerns the whole process, so our own commands have it (see `process_tuning`), and no user's
pipeline.
"""

from __future__ import annotations

import copy
import functools
import sys
import types
import weakref
from collections.abc import Callable
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms import core, userstate


def remember_what_beam_asks_again() -> None:
    """Patches Beam in this process, once. A release of Beam that works otherwise is left as it is."""
    asked = getattr(core, "get_function_args_defaults", None)
    if asked is not None and not hasattr(asked, "__wrapped__"):
        core.get_function_args_defaults = _by_function(asked)
    looked_for = getattr(userstate, "get_dofn_specs", None)
    if looked_for is not None and not hasattr(looked_for, "__wrapped__"):
        userstate.get_dofn_specs = _by_class(looked_for)
    view_as = PipelineOptions.view_as
    if vars(PipelineOptions([])).keys() == _OF_OPTIONS and not hasattr(view_as, "__wrapped__"):
        PipelineOptions.view_as = _by_flags(view_as)


_OF_OPTIONS = {"_flags", "_visible_options", "_all_options"}


def _by_function(names_and_defaults: Callable[[Any], Any]) -> Callable[[Any], tuple[list[str], list[Any]]]:
    """The arguments of a function, and those of a method, which has one less."""
    of_functions: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
    of_methods: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()

    @functools.wraps(names_and_defaults)
    def remembered(function: Any) -> tuple[list[str], list[Any]]:
        known, key = of_functions, function
        if isinstance(function, types.MethodType):
            known, key = of_methods, function.__func__
        if not isinstance(key, types.FunctionType):
            return names_and_defaults(function)
        if key not in known:
            known[key] = names_and_defaults(function)
        names, defaults = known[key]
        return list(names), list(defaults)

    return remembered


def _by_class(state_and_timers: Callable[[Any], Any]) -> Callable[[Any], tuple[set[Any], set[Any]]]:
    """The state and timers of a DoFn: those of its class, unless it stands for another DoFn."""
    of_classes: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()

    @functools.wraps(state_and_timers)
    def remembered(dofn: Any) -> tuple[set[Any], set[Any]]:
        if _stands_for_another(dofn):
            return state_and_timers(dofn)
        if type(dofn) not in of_classes:
            of_classes[type(dofn)] = state_and_timers(dofn)
        states, timers = of_classes[type(dofn)]
        return set(states), set(timers)

    return remembered


def _stands_for_another(dofn: Any) -> bool:
    """Tells whether an object holds a method of another one, or passes on what it is asked for, as what Beam wraps
    around a DoFn does (`--runtime_type_check`, `with_exception_handling`)."""
    passes_on = type(dofn).__getattribute__ is not object.__getattribute__ or hasattr(type(dofn), "__getattr__")
    return passes_on or any(isinstance(value, types.MethodType) for value in getattr(dofn, "__dict__", {}).values())


def _by_flags(view_as: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A view of options, of which the parsed flags are remembered; what was set since is shared by all views."""
    parsed: dict[Any, Any] = {}

    @functools.wraps(view_as)
    def remembered(options: Any, view_class: Any) -> Any:
        key = view_class, tuple(sys.argv if options._flags is None else options._flags)
        if key not in parsed:
            view = view_as(options, view_class)
            if view_class.__init__ is PipelineOptions.__init__:
                parsed[key] = copy.deepcopy(view._visible_options)
            return view
        view = view_class.__new__(view_class)
        view._flags = options._flags
        view._visible_options = copy.deepcopy(parsed[key])
        for name, value in vars(view._visible_options).items():
            options._all_options.setdefault(name, value)
        view._all_options = options._all_options
        return view

    return remembered
