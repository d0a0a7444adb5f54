"""Flags given as keyword arguments: as text, checked as the command checks them, with messages that name keywords."""

from __future__ import annotations

import argparse
import difflib
import numbers
import os
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from apache_beam.options.pipeline_options import PipelineOptions

from beam_curator.commands.options import CurationOptions
from beam_curator.defaults import NO_LIMIT
from beam_curator.errors import UsageError
from beam_curator.given_paths import path_text

_COMMANDS_OWN = {
    "dry_run": "the command alone prints a plan: beam-curator curate --dry_run",
    "trial": "the command alone tries: beam-curator curate --dry_run --trial 200",
    "price_per_hour": "the command alone estimates: beam-curator curate --dry_run --price_per_hour PRICE",
    "preview": "the command alone prints one: beam-curator curate --preview",
    "no_wait": "curate() gives what the job gave, so that it waits for it",
}
_THRESHOLDS = ("min_aesthetic", "max_nsfw")
"""The flags that None turns off: their default is a number."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(re.sub(r"^argument \S+: ", "", message))


def _parser() -> _Parser:
    parser = _Parser(add_help=False, allow_abbrev=False)
    CurationOptions._add_argparse_args(parser)
    return parser


def argv_of(flags: Mapping[str, Any]) -> list[str]:
    """The command line that says the same.

    Args:
      flags: the flags' names and values: text, paths, numbers, true and false, lists where a flag takes several; None
        for the default, or of a threshold for none.

    Raises:
      UsageError: for a name that is no flag, and for a value that the flag does not take.
    """
    parser = _parser()
    actions = {flag.removeprefix("--"): action for action in parser._actions for flag in action.option_strings}
    argv, given = [], dict[str, str]()
    for name, value in flags.items():
        _check_name(name, list(actions))
        if value is None:
            if name not in _THRESHOLDS:
                continue
            value = NO_LIMIT
        first = given.setdefault(actions[name].dest, name)
        if first != name:
            raise UsageError(f"{name}={value!r}: {first} is the same argument: give one of them")
        texts = [f"--{name}={text}" for text in _texts(name, value, actions[name])]
        if f"--{name}=" in texts:
            raise UsageError(f"{name}={value!r}: its value is empty")
        try:
            parser.parse_args(texts)
        except UsageError as error:
            raise UsageError(f"{name}={value!r}: {error}") from None
        argv += texts
    return argv


def _check_name(name: str, known: list[str]) -> None:
    if name in _COMMANDS_OWN:
        raise UsageError(f"{name}: {_COMMANDS_OWN[name]}")
    if name not in known:
        near = difflib.get_close_matches(name, [*known, "rules", "runner", "pipeline_options"], n=1)
        hint = f"did you mean {near[0]}?" if near else "Beam's options go to pipeline_options"
        raise UsageError(f"unknown argument {name}: {hint}")


_WITH_COMMAS = ("image_from", "caption_from", "duplicates")


def _texts(name: str, value: Any, action: argparse.Action) -> list[str]:
    """The value as text: several texts for a flag that may be given again."""
    if not isinstance(value, (list, tuple)):
        return [_text(name, value)]
    values = [_text(name, one) for one in value]
    if name in _WITH_COMMAS:
        return [",".join(values)]
    if not isinstance(action, argparse._AppendAction):
        raise UsageError(f"{name}={value!r}: takes one value")
    return values


def _text(name: str, value: Any) -> str:
    if isinstance(value, os.PathLike):
        return path_text(value, name)
    if not isinstance(value, (str, numbers.Real)):
        raise UsageError(
            f"{name}={value!r}: takes a text, a number or a path; an object of yours is named as on the command line, "
            "'package.module:Object(values)'"
        )
    return str(value)


def beams_values(options: PipelineOptions | None) -> dict[str, Any]:
    """The values of options that differ from Beam's defaults, by name.

    Raises:
      UsageError: for what is no `PipelineOptions`, and where one of our flags is among them.
    """
    if options is None:
        return {}
    if not isinstance(options, PipelineOptions):
        raise UsageError(f"pipeline_options={options!r}: give an apache_beam.options.pipeline_options.PipelineOptions")
    values = options.get_all_options(drop_default=True)
    ours = [action.dest for action in _parser()._actions if action.dest in values]
    if ours:
        raise UsageError(f"pipeline_options: {ours[0]} is an argument of curate() itself: {ours[0]}=...")
    return values
