"""Turns the error of a failed job into the one line that a user reads."""

from __future__ import annotations

import re
import textwrap

from apache_beam.io.filesystem import BeamIOError

from beam_curator.device_errors import told_of_memory
from beam_curator.errors import CurationError, JobError, StorageError, first_line

_LONG = 500

_MORE_MEMORY = "a worker has too little memory: free some, take a larger one, or give it fewer --decode_threads"

_RAISED = re.compile(
    r"\b((?:Curation|Usage|Job|DeviceLost|Storage|Transfer|SavedModel)Error): (.+?)(?= \[while running|\\n|$)",
    re.MULTILINE,
)

_FAULT = re.compile(
    r"^(?:[\w.]+\.)?(\w*(?:OSError|IOError|BeamIOError|FileNotFoundError|PermissionError)): (.+?)"
    r"(?= \[while running|$)",
    re.MULTILINE,
)

_NO_MODULE = re.compile(r"^ModuleNotFoundError: No module named '([^']+)'", re.MULTILINE)
"""Matches what a worker raised: the command itself found all modules that it needs."""

_ENGINE_FAULT = re.compile(r"^Pipeline \S+ failed in state \w+: (?:(?:\w+\.)+[\w$]+: )*(.+)")


def as_job_error(error: Exception, output: str) -> Exception:
    """Turns what a runner raised into a `JobError` of one line that says what to do; a bug of ours stays as it is."""
    resume = f"what is scored is kept in {output}: run the same command again to resume"
    if isinstance(error, CurationError):
        told = _without_step(str(error))
        return JobError(f"{told}; {resume}" if isinstance(error, StorageError) else told)
    if type(error).__module__.partition(".")[0] == "google":  # no credentials, no permission, no such project
        return JobError(f"{type(error).__name__}: {first_line(error)}; {resume}")
    text = str(error)
    raised = _RAISED.findall(text)
    if raised:
        kind, told = raised[-1]
        return JobError(f"{told}; {resume}" if kind == StorageError.__name__ else told)
    lacking = _NO_MODULE.findall(text)
    if lacking:
        return JobError(
            f"a worker has no Python module {lacking[-1]}: install its package where the workers run; {resume}"
        )
    wanted = told_of_memory(f"MemoryError: {text}" if isinstance(error, MemoryError) else text)
    if wanted is not None:
        return JobError(f"{_without_step(wanted).rstrip(': ')}: {_MORE_MEMORY}; {resume}")
    if isinstance(error, (OSError, BeamIOError)):
        return JobError(f"{type(error).__name__}: {_without_step(first_line(error))}; {resume}")
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
