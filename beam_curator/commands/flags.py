"""Parses the command line, and makes the checks that need nothing but the flags.

Nothing heavy is imported here, so that `--help` and slips are answered at once.
"""

from __future__ import annotations

import argparse
import difflib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from beam_curator.commands import input_flags, model_flags, running_flags, selection_flags
from beam_curator.commands.dry_run_flags import add_dry_run, instead_of_running
from beam_curator.commands.duplicate_flags import add_duplicates
from beam_curator.commands.preset_flag import with_preset
from beam_curator.errors import UsageError

PROGRAM = "beam-curator"
LOCAL_RUNNERS = (None, "DirectRunner", "BundleBasedDirectRunner", "FnApiRunner")


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, like all others."""

    def error(self, message: str) -> NoReturn:
        """Raises UsageError with what is wrong."""
        raise UsageError(f"{message} (see --help)")


def curation_parser(program: str, description: str) -> Parser:
    """A parser of all flags of the main job."""
    parser = Parser(
        prog=program,
        description=description,
        epilog="Every flag of Beam works as well, such as --runner, --direct_num_workers, --project, --region.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_dry_run(parser)
    add_flags(parser)
    return parser


def check(argv: Sequence[str], description: str) -> None:
    """Checks arguments of the main job as far as it can be done without Beam, which takes seconds to import.

    Raises:
      UsageError: for a value that is none, a flag that looks like a slip in one of ours, or no --input or --output.
      SystemExit: after --help.
    """
    parser = curation_parser(f"{PROGRAM} curate", description)
    flags, others = parser.parse_known_args(with_preset(argv))
    refuse_slips(parser, others)
    refuse_empty(parser, flags)
    instead_of_running(flags)
    require(flags, "input", "output")


def refuse_slips(parser: Parser, words: Sequence[str]) -> None:
    """Raises UsageError for a flag that looks like a slip in one of this parser's, unless it is one of Beam's."""
    known = parser._option_string_actions
    for flag in (text.split("=")[0] for text in words if text.startswith("--")):
        near = difflib.get_close_matches(flag, known, n=1, cutoff=0.8)
        if near and flag not in known and flag not in _text_of_beams_options():
            raise UsageError(f"unknown argument {flag}: did you mean {near[0]}?")


def refuse_empty(parser: Parser, flags: argparse.Namespace) -> None:
    """Raises UsageError for an empty value, such as --scores_from "$UNSET": it would be as if not given, or the
    directory where the command is.

    Args:
      parser: of the flags.
      flags: what it made of a command line.
    """
    for action in parser._actions:
        given = getattr(flags, action.dest, None)
        if "" in (given if isinstance(given, list) else [given]):
            name = action.option_strings[0] if action.option_strings else action.metavar
            raise UsageError(f"argument {name}: its value is empty (see --help)")


def _text_of_beams_options() -> str:
    """The source of Beam's own flags: read, since importing it takes seconds."""
    found = importlib.util.find_spec("apache_beam")
    if found is None or found.origin is None:
        return ""
    return Path(found.origin).with_name("options").joinpath("pipeline_options.py").read_text(encoding="utf-8")


def require(flags: Any, *names: str) -> None:
    """Raises UsageError for the first of these flags that is not given."""
    for name in names:
        if not getattr(flags, name):
            raise UsageError(f"--{name} is missing (see --help)")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of the main job, in groups."""
    input_flags.add_input_and_output(parser.add_argument_group("input and output"))
    input_flags.add_samples(parser.add_argument_group("samples"))
    model_flags.add_models(parser.add_argument_group("models"))
    selection_flags.add_selection(parser.add_argument_group("selection (new values need no GPU: scores are kept)"))
    add_duplicates(parser.add_argument_group("duplicates (new values need no GPU, either)"))
    running_flags.add_running(parser.add_argument_group("running elsewhere"))
