"""Does what commands share: parses flags beside Beam's, runs a pipeline with its progress, and turns errors into exit
codes."""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    StandardOptions,
)
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineResult

from beam_curator import process_tuning, temporaries
from beam_curator.commands import interruption, worker_deaths
from beam_curator.commands.failures import as_job_error
from beam_curator.commands.input_in_pieces import hand_over_in_pieces
from beam_curator.commands.options import CurationOptions
from beam_curator.commands.parsing import has_worker_processes, is_dataflow, is_local
from beam_curator.commands.progress_elsewhere import metrics_now, shown_of_processes, shown_of_runner
from beam_curator.commands.progress_line import ProgressLine
from beam_curator.commands.quick_building import remember_what_beam_asks_again
from beam_curator.device_errors import wants_memory
from beam_curator.errors import CurationError, JobError, StorageError, UsageError, first_line
from beam_curator.output.manifest import MANIFEST
from beam_curator.progress import BOARD
from beam_curator.storage import urls
from beam_curator.transforms.held_rows import HeldRows
from beam_curator.transforms.spilling import spilled_to_disk


def run_pipeline(
    options: PipelineOptions,
    build: Callable[[beam.Pipeline], Any],
    total_bytes: int,
    output: str,
    show_progress: bool = True,
    total_shards: int = 0,
) -> PipelineResult:
    """Builds and runs a pipeline to its end. Without --runner it runs in this process.

    Args:
      options: Beam's, and ours.
      build: adds the steps.
      total_bytes, total_shards: of the input, by which the time left is told.
      output: the output directory, for errors.
      show_progress: whether the standard error shows how far it is.

    Raises:
      JobError: when the job fails for a reason that the user can mend.
    """
    pipeline = _built(options, build)
    process_tuning.spare_what_is_loaded()
    BOARD.reset()
    here = _progress_here(options, total_bytes, total_shards) if show_progress else contextlib.nullcontext()
    in_this_process = isinstance(pipeline.runner, FnApiRunner) and not has_worker_processes(options)
    held = HeldRows() if options.view_as(CurationOptions).report else None
    spilling = spilled_to_disk(held) if in_this_process else contextlib.nullcontext()
    try:
        with _quiet_beam(), here, spilling, interruption.job_runs(elsewhere=not is_local(options)):
            result = _with_worker_processes(pipeline, output) if has_worker_processes(options) else pipeline.run()
            elsewhere = _progress_elsewhere(options, result, output, total_bytes, total_shards)
            with elsewhere if show_progress else contextlib.nullcontext():
                state = result.wait_until_finish()
    except Exception as error:
        raise as_job_error(error, _scores(options, output)) from error
    if state not in (None, "DONE"):
        raise JobError(f"the job ended in state {state}; run the same command again to resume it")
    return result


@contextlib.contextmanager
def _quiet_beam() -> Iterator[None]:
    """Keeps Beam, while the block runs, from logging what it raises as well: a traceback for each failed bundle, and
    each start and end of a server; nor what users can do nothing about."""
    root, about_itself = logging.getLogger(), _is_not_about_beams_own_metrics
    is_filtered = about_itself in root.filters  # by the command, until it ends
    root.addFilter(about_itself)
    levels = {"apache_beam.runners": logging.CRITICAL, "apache_beam.utils.subprocess_server": logging.ERROR}
    loggers = [(logging.getLogger(name), level) for name, level in levels.items()]
    before = [logger.level for logger, _ in loggers]
    for logger, level in loggers:
        logger.setLevel(level)
    try:
        yield
    finally:
        for (logger, _), level in zip(loggers, before, strict=True):
            logger.setLevel(level)
        if not is_filtered:
            root.removeFilter(about_itself)


def _scores(options: PipelineOptions, output: str) -> str:
    """Names the directory that has a job's scores."""
    return options.view_as(CurationOptions).scores_from or output


def _with_worker_processes(pipeline: beam.Pipeline, output: str) -> PipelineResult:
    deaf = worker_deaths.workers_deaf_to_ctrl_c()
    with worker_deaths.options_passed_on(pipeline.options), temporaries.of_workers(), deaf:
        return worker_deaths.run_watched(pipeline.run, _scores(pipeline.options, output))


def _built(options: PipelineOptions, build: Callable[[beam.Pipeline], Any]) -> beam.Pipeline:
    runner = None if options.view_as(StandardOptions).runner else FnApiRunner()
    try:
        pipeline = beam.Pipeline(runner=runner, options=options)
    except ValueError as error:  # what Beam finds wrong with its own flags: a list, a line each
        raise UsageError(" ".join(str(error).split())) from error
    temporaries.adopt(pipeline.local_tempdir)  # Beam removes it when the pipeline has run, not where it is stopped
    build(pipeline)
    return pipeline


def waits(options: PipelineOptions) -> bool:
    """Tells whether the command waits for the end of its job: not with --no_wait, and not when it makes a template.

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
    return f"Beam Curator: {what}; {urls.join(output, MANIFEST)} will be there when the job is done"


def _progress_here(
    options: PipelineOptions, total_bytes: int, total_shards: int
) -> contextlib.AbstractContextManager[Any]:
    """The progress of what runs on this machine."""
    if not is_local(options):
        return contextlib.nullcontext()
    if has_worker_processes(options):
        return shown_of_processes(total_bytes, total_shards)
    return ProgressLine(total_bytes, total_shards=total_shards)


def _progress_elsewhere(
    options: PipelineOptions, result: PipelineResult, output: str, total_bytes: int, total_shards: int
) -> contextlib.AbstractContextManager[Any]:
    """The progress of what runs on other machines, as far as their runner tells."""
    if is_local(options):
        return contextlib.nullcontext()
    return shown_of_runner(result, options, output, total_bytes, total_shards)


def counter(result: PipelineResult, name: str) -> int:
    """The value of one of our counters, over the whole job."""
    query = beam.metrics.MetricsFilter().with_namespace("beam_curator").with_name(name)
    return sum(found.committed or 0 for found in metrics_now(result).query(query)["counters"])


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
      argv: its arguments. None for those of this process, which then is the command: its settings are turned on
        (`process_tuning`, `quick_building`, `input_in_pieces`), and Ctrl-C and SIGTERM end it at once, with exit code
        130 and 143.
    """
    if argv is not None:
        return _exit_code(program, run, argv)
    process_tuning.turn_on()
    remember_what_beam_asks_again()
    hand_over_in_pieces()
    with interruption.ends_process(program):
        code = _exit_code(program, run, sys.argv[1:])
        temporaries.remove_all()  # of a pipeline that was never run
    return code


def last_exit_code(program: str, run: Callable[[Sequence[str]], int], argv: Sequence[str] | None) -> int:
    """Gives the exit code as `exit_code` does; but if the command is this process, ends it here (see
    `interruption.end_process`)."""
    code = exit_code(program, run, argv)
    if argv is None:
        interruption.end_process(program, code)
    return code


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
    except PermissionError as error:  # before or after a job, of a path that was only looked for
        print(f"{program}: {error.filename or first_line(error)}: permission denied", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(interruption.line(program), file=sys.stderr)
        return 130
    except Exception as error:
        if wants_memory(error):
            told = f"there is too little memory ({first_line(error)}): free some, or take a larger machine"
            print(f"{program}: {told}", file=sys.stderr)
            return 1
        # A bug of ours: the one case where a traceback helps.
        traceback.print_exc()
        print(f"{program}: internal error, please report it: {first_line(error)}", file=sys.stderr)
        return 1
