"""What commands share: parsing flags beside Beam's, running a pipeline with its progress, errors and exit codes."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import logging
import re
import sys
import textwrap
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import apache_beam as beam
from apache_beam.io.filesystem import BeamIOError
from apache_beam.options.pipeline_options import (
    DirectOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    S3Options,
    SetupOptions,
    StandardOptions,
)
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineResult

from beam_curator import files, interruption, workers
from beam_curator.errors import CurationError, JobError, StorageError, UsageError
from beam_curator.garbage import spare_what_is_loaded
from beam_curator.manifest import MANIFEST
from beam_curator.matching import named_patterns
from beam_curator.options import CurationOptions
from beam_curator.progress import ProgressLine
from beam_curator.reading import DEFAULT_RANGE_MB
from beam_curator.runner_checks import check_runner

_LOCAL_RUNNERS = (None, "DirectRunner", "BundleBasedDirectRunner", "FnApiRunner")
DRY_RUN = "--dry_run"
_LONG = 500
_RAISED = re.compile(
    r"\b((?:Curation|Usage|Job|Storage|Transfer|SavedModel)Error): (.+?)(?= \[while running|\\n|$)", re.MULTILINE
)
_FAULT = re.compile(
    r"^(?:[\w.]+\.)?(\w*(?:OSError|IOError|BeamIOError|FileNotFoundError|PermissionError|MemoryError)): (.+?)"
    r"(?= \[while running|$)",
    re.MULTILINE,
)
_ENGINE_FAULT = re.compile(r"^Pipeline \S+ failed in state \w+: (?:(?:\w+\.)+[\w$]+: )*(.+)")


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, like all others."""

    def error(self, message: str) -> NoReturn:
        """Raises UsageError with what is wrong."""
        raise UsageError(f"{message} (see --help)")


def parse(program: str, description: str, argv: Sequence[str]) -> tuple[PipelineOptions, bool]:
    """Pipeline options with our flags and Beam's, and whether this is to be a dry run.

    Raises:
      UsageError: for a wrong value, or a flag that nobody knows.
      SystemExit: after --help.
    """
    parser = Parser(
        prog=program,
        description=description,
        epilog="Every flag of Beam works as well, such as --runner, --direct_num_workers, --project, --region.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    # Not one of CurationOptions: Beam's testing options have a --dry_run of another kind, which takes a value.
    parser.add_argument(
        DRY_RUN,
        action="store_true",
        help="read no images: print shards, ranges, what is scored already, and models, and stop",
    )
    CurationOptions._add_argparse_args(parser)
    ours, others = parser.parse_known_args(list(argv))
    options = PipelineOptions([flag for flag in argv if flag != DRY_RUN])
    _check_unknown(parser, others, options.view_as(StandardOptions).runner)
    setup = options.view_as(SetupOptions)
    if setup.save_main_session is None:  # which Beam takes for yes on Dataflow; nothing here needs it
        setup.save_main_session = False
    files.use_options(options)
    return options, ours.dry_run


def parse_simple(program: str, description: str, argv: Sequence[str]) -> tuple[PipelineOptions, CurationOptions]:
    """For small jobs: pipeline options, and our view of them, with --input and --output given.

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
    """For commands that run no pipeline: takes Beam's flags of buckets, such as --s3_endpoint_url, and no others.

    Raises:
      UsageError: for any other argument.
    """
    parser = Parser(add_help=False, allow_abbrev=False)
    for options in (S3Options, GoogleCloudOptions):
        options._add_argparse_args(parser)
    parser.parse_args(list(argv))
    files.use_options(PipelineOptions(list(argv)))


def require(flags: CurationOptions, *names: str) -> None:
    """Raises UsageError for the first of these flags that is not given."""
    for name in names:
        if not getattr(flags, name):
            raise UsageError(f"--{name} is missing (see --help)")


def require_absolute(options: PipelineOptions) -> None:
    """Raises UsageError for a relative path that workers elsewhere would look for in a directory of their own."""
    if (options.view_as(PortableOptions).environment_type or "LOOPBACK") == "LOOPBACK":
        return
    flags = options.view_as(CurationOptions)
    for path in (*named_patterns(flags.input), flags.output, flags.model_dir):
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
    """Whether the job runs on Dataflow."""
    return "dataflow" in (options.view_as(StandardOptions).runner or "").lower()


def is_local(options: PipelineOptions) -> bool:
    """Whether the job runs on this machine."""
    return options.view_as(StandardOptions).runner in _LOCAL_RUNNERS


def has_worker_processes(options: PipelineOptions) -> bool:
    """Whether the job runs on this machine in processes that Beam starts."""
    return is_local(options) and options.view_as(DirectOptions).direct_running_mode == "multi_processing"


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
        if near or runner in _LOCAL_RUNNERS:
            hint = f": did you mean {near[0]}?" if near else " (see --help)"
            raise UsageError(f"unknown argument {flag}{hint}")


def _check_words(unknown: Sequence[str]) -> None:
    """Refuses a bare word, unless it may be the value of a flag that we do not know: a pattern without quotes, which
    the shell has written out, would lose all shards but the first."""
    for before, word in zip(["", *unknown], unknown, strict=False):
        if not word.startswith("-") and ("=" in before or not before.startswith("-")):
            raise UsageError(f"unknown argument {word}: put patterns in quotes, one to an --input (see --help)")


def run_pipeline(
    options: PipelineOptions, build: Callable[[beam.Pipeline], Any], total_bytes: int, output: str
) -> PipelineResult:
    """Builds and runs a pipeline to its end, showing progress. Without --runner it runs in this process.

    Raises:
      JobError: when the job fails for a reason that the user can mend.
    """
    pipeline = _built(options, build)
    spare_what_is_loaded()
    # Beam logs a traceback for each failed bundle, and raises it as well: once is enough.
    logging.getLogger("apache_beam.runners").setLevel(logging.CRITICAL)
    logging.getLogger("apache_beam.utils.subprocess_server").setLevel(logging.ERROR)  # it warns of each start and end
    try:
        with _progress(options, total_bytes), interruption.job_runs(elsewhere=not is_local(options)):
            result = _with_worker_processes(pipeline, output) if has_worker_processes(options) else pipeline.run()
            state = result.wait_until_finish()
    except Exception as error:
        raise as_job_error(error, output) from error
    if state not in (None, "DONE"):
        raise JobError(f"the job ended in state {state}; run the same command again to resume it")
    return result


def _with_worker_processes(pipeline: beam.Pipeline, output: str) -> PipelineResult:
    with workers.options_passed_on(pipeline.options):
        return workers.run_watched(pipeline.run, output)


def _built(options: PipelineOptions, build: Callable[[beam.Pipeline], Any]) -> beam.Pipeline:
    runner = None if options.view_as(StandardOptions).runner else FnApiRunner()
    try:
        pipeline = beam.Pipeline(runner=runner, options=options)
    except ValueError as error:  # what Beam finds wrong with its own flags: a list, a line each
        raise UsageError(" ".join(str(error).split())) from error
    build(pipeline)
    return pipeline


def waits(options: PipelineOptions) -> bool:
    """Whether the command waits for the end of its job: not with --no_wait, and not when it makes a template.

    Raises:
      UsageError: for --no_wait where the job would end with this process.
    """
    if options.view_as(CurationOptions).no_wait and not is_dataflow(options):
        raise UsageError("--no_wait is for DataflowRunner: on others the job ends with this command")
    return not (options.view_as(CurationOptions).no_wait or options.view_as(GoogleCloudOptions).template_location)


def submit_pipeline(options: PipelineOptions, build: Callable[[beam.Pipeline], Any], output: str) -> str:
    """Builds a pipeline and hands it to Dataflow; gives what to tell of it.

    Raises:
      JobError: when it is refused for a reason that the user can mend.
    """
    pipeline = _built(options, build)
    try:
        result = pipeline.run()
    except Exception as error:
        raise as_job_error(error, output) from error
    template = options.view_as(GoogleCloudOptions).template_location
    what = f"template {template}" if template else f"submitted as Dataflow job {result.job_id()}"
    return f"Beam Curator: {what}; {files.join(output, MANIFEST)} will be there when the job is done"


def _progress(options: PipelineOptions, total_bytes: int) -> contextlib.AbstractContextManager[Any]:
    """The progress of what runs in this process; that of other processes and machines is not seen from here."""
    seen = is_local(options) and not has_worker_processes(options)
    return ProgressLine(total_bytes) if seen else contextlib.nullcontext()


def as_job_error(error: Exception, output: str) -> Exception:
    """What a runner raised, as the one line that the user needs; bugs stay what they are."""
    resume = f"what is scored is kept in {output}: run the same command again to resume"
    if isinstance(error, CurationError):
        told = _without_step(str(error))
        return JobError(f"{told}; {resume}" if isinstance(error, StorageError) else told)
    if type(error).__module__.partition(".")[0] == "google":  # no credentials, no permission, no such project
        return JobError(f"{type(error).__name__}: {files.first_line(error)}; {resume}")
    text = str(error)
    raised = _RAISED.findall(text)
    if raised:
        kind, told = raised[-1]
        return JobError(f"{told}; {resume}" if kind == StorageError.__name__ else told)
    if isinstance(error, (OSError, MemoryError, BeamIOError)):
        return JobError(f"{type(error).__name__}: {_without_step(files.first_line(error))}; {resume}")
    fault = _FAULT.findall(text)
    if fault:
        return JobError(f"{': '.join(fault[-1])}; {resume}")
    if type(error).__name__ == "DataflowRuntimeException":
        return JobError(f"{textwrap.shorten(text, _LONG, placeholder=' ...')}; {resume}")
    engine = _ENGINE_FAULT.match(text)
    if engine and "Traceback" not in text:  # Flink or Spark lost a machine, or could not run the job
        return JobError(f"the engine failed the job: {engine[1]}; {resume}")
    return error


def _without_step(text: str) -> str:
    return re.sub(r" \[while running.*", "", text, flags=re.DOTALL)


def counter(result: PipelineResult, name: str) -> int:
    """The value of one of our counters, over the whole job."""
    query = beam.metrics.MetricsFilter().with_namespace("beam_curator").with_name(name)
    return sum(found.committed or 0 for found in result.metrics().query(query)["counters"])


def _is_not_about_beams_own_metrics(record: logging.LogRecord) -> bool:
    """RunInference warns of a module that it lacks for a metric of its own; users can do nothing about it. What an
    engine says of a failed job is raised as well."""
    return not record.getMessage().startswith("Resource module is not available") and record.module != "portable_runner"


def tell(program: str, lines: Sequence[str]) -> None:
    """Says what the user should know before the work begins, a line each, where errors go."""
    for line in lines:
        print(f"{program}: note: {line}", file=sys.stderr)


def exit_code(program: str, run: Callable[[Sequence[str]], int], argv: Sequence[str] | None) -> int:
    """Runs a command; gives 0, 1 for a failed job, 2 for bad usage.

    Args:
      program: what its messages begin with.
      run: the command, which gives its own exit code.
      argv: its arguments. None for those of this process, which then is the command: Ctrl-C and SIGTERM end it at
        once, with exit code 130 and 143.
    """
    if argv is not None:
        return _exit_code(program, run, argv)
    with interruption.ends_process(program):
        return _exit_code(program, run, sys.argv[1:])


def _exit_code(program: str, run: Callable[[Sequence[str]], int], argv: Sequence[str]) -> int:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger().addFilter(_is_not_about_beams_own_metrics)
    try:
        return run(argv)
    except (UsageError, StorageError) as error:  # a job's own faults are JobErrors
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except CurationError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(interruption.line(program), file=sys.stderr)
        return 130
    except Exception as error:  # a bug of ours: the one case where a traceback helps
        traceback.print_exc()
        print(f"{program}: internal error, please report it: {files.first_line(error)}", file=sys.stderr)
        return 1
