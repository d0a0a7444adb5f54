"""Flags: parsed, and checked before any work."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Sequence
from pathlib import Path

from apache_beam.options.pipeline_options import (
    DirectOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    S3Options,
    SetupOptions,
    StandardOptions,
)

from beam_curator import process_tuning
from beam_curator.commands.dry_run_flags import instead_of_running, split_off
from beam_curator.commands.flags import LOCAL_RUNNERS, Parser, curation_parser, refuse_empty, require
from beam_curator.commands.options import CurationOptions
from beam_curator.commands.preset_flag import with_preset
from beam_curator.commands.runner_checks import check_runner
from beam_curator.defaults import DEFAULT_RANGE_MB
from beam_curator.errors import UsageError
from beam_curator.sources.matching import named_patterns
from beam_curator.storage import files


def parse(program: str, description: str, argv: Sequence[str]) -> tuple[PipelineOptions, str]:
    """Pipeline options with our flags and Beam's, and what is to be done instead of running: DRY_RUN, PREVIEW, or "".

    Raises:
      UsageError: for a wrong value, or a flag that nobody knows.
      SystemExit: after --help.
    """
    parser = curation_parser(program, description)
    argv = with_preset(argv)
    ours, others = parser.parse_known_args(list(argv))
    refuse_empty(parser, ours)
    instead = instead_of_running(ours)
    options = PipelineOptions(split_off(argv)[1])
    _check_unknown(parser, others, options.view_as(StandardOptions).runner)
    put_to_use(options)
    return options, instead


def put_to_use(options: PipelineOptions) -> None:
    """Has all that reaches buckets take these options, and fills in what Beam's defaults get wrong."""
    setup = options.view_as(SetupOptions)
    if setup.save_main_session is None:  # which Beam takes for yes on Dataflow; nothing here needs it
        setup.save_main_session = False
    files.use_options(options)
    process_tuning.share_machine(_worker_processes(options) if has_worker_processes(options) else 1)


def _worker_processes(options: PipelineOptions) -> int:
    """Counts the processes that Beam starts on this machine; one a core where the flag is 0."""
    return options.view_as(DirectOptions).direct_num_workers or process_tuning.usable_cores()


def parse_simple(program: str, description: str, argv: Sequence[str]) -> tuple[PipelineOptions, CurationOptions]:
    """Parses the arguments of a small job: gives pipeline options, and our view of them, with --input and --output
    given.

    Raises:
      UsageError: as `parse` does, and when either is missing.
    """
    options, _ = parse(program, description, argv)
    flags = options.view_as(CurationOptions)
    require(flags, "input", "output")
    require_absolute(options)
    require_buckets(options)
    check_runner(options, [*named_patterns(flags.input), flags.output])
    flags.range_mb = flags.range_mb or DEFAULT_RANGE_MB
    return options, flags


def use_storage_flags(argv: Sequence[str]) -> None:
    """Takes Beam's flags of buckets, such as --s3_endpoint_url, and no others, for commands that run no pipeline.

    Raises:
      UsageError: for any other argument.
    """
    parser = Parser(add_help=False, allow_abbrev=False)
    for options in (S3Options, GoogleCloudOptions):
        options._add_argparse_args(parser)
    parser.parse_args(list(argv))
    files.use_options(PipelineOptions(list(argv)))


def require_absolute(options: PipelineOptions) -> None:
    """Raises UsageError for a relative path that workers elsewhere would look for in a directory of their own."""
    if (options.view_as(PortableOptions).environment_type or "LOOPBACK") == "LOOPBACK":
        return
    flags = options.view_as(CurationOptions)
    for path in (
        *named_patterns(flags.input),
        flags.output,
        flags.model_dir,
        flags.scores_from,
        flags.duplicate_embeddings,
        *(flags.against or ()),
    ):
        if path and "://" not in path and not Path(path).is_absolute():
            raise UsageError(f"{path}: a relative path means another place on each worker: give an absolute one")


def require_buckets(options: PipelineOptions) -> None:
    """Raises UsageError for a place of Dataflow's that is no bucket: Beam warns, and then makes one of its own."""
    if not is_dataflow(options):
        return
    for name in ("temp_location", "staging_location"):
        place = getattr(options.view_as(GoogleCloudOptions), name)
        if place and not re.match(r"gs://[^/]+(/|$)", place):
            raise UsageError(f"--{name} {place}: Dataflow needs a place in a bucket: give gs://BUCKET/DIRECTORY")


def is_dataflow(options: PipelineOptions) -> bool:
    """Tells whether the job runs on Dataflow."""
    return "dataflow" in (options.view_as(StandardOptions).runner or "").lower()


def is_local(options: PipelineOptions) -> bool:
    """Tells whether the job runs on this machine."""
    return options.view_as(StandardOptions).runner in LOCAL_RUNNERS


def has_worker_processes(options: PipelineOptions) -> bool:
    """Tells whether the job runs on this machine in processes that Beam starts."""
    return is_local(options) and options.view_as(DirectOptions).direct_running_mode == "multi_processing"


_GONE = dict.fromkeys(("--fast_resize", "--jpeg_draft", "--jpeg_gpu"), ": it is gone, give --decode fast in its place")


def _check_unknown(ours: argparse.ArgumentParser, others: Sequence[str], runner: str | None) -> None:
    """Refuses flags that neither we nor Beam know. Runners elsewhere have flags of their own, which pass unless they
    look like a slip in one of ours."""
    beams = Parser(add_help=False, allow_abbrev=False)
    for options in dict.fromkeys(PipelineOptions.__subclasses__()):
        if options is not CurationOptions:
            options._add_argparse_args(beams)
    _, unknown = beams.parse_known_args(list(others))
    _check_words(unknown)
    known = [flag for parser in (ours, beams) for flag in parser._option_string_actions]
    for flag in (text.split("=")[0] for text in unknown):
        near = difflib.get_close_matches(flag, known, n=1, cutoff=0.8)
        if near or flag in _GONE or runner in LOCAL_RUNNERS:
            hint = f": did you mean {near[0]}?" if near else " (see --help)"
            raise UsageError(f"unknown argument {flag}{_GONE.get(flag, hint)}")


def _check_words(unknown: Sequence[str]) -> None:
    """Refuses a bare word, unless it may be the value of a flag that we do not know: a pattern without quotes, which
    the shell has written out, would lose all shards but the first."""
    for before, word in zip(["", *unknown], unknown, strict=False):
        if not word.startswith("-") and ("=" in before or not before.startswith("-")):
            raise UsageError(f"unknown argument {word}: put patterns in quotes, one to an --input (see --help)")
