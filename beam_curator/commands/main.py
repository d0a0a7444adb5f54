"""The console script `beam-curator`: a command for each thing to do.

What a command needs is imported when it runs, so that `--help` and slips of typing are answered at once.
"""

from __future__ import annotations

import atexit
import contextlib
import difflib
import importlib
import logging
import os
import re
import signal
import sys
import warnings
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

import beam_curator
from beam_curator.commands import unread_output

PROGRAM = "beam-curator"
COMMANDS = {
    "curate": ("curate", "read shards, embed, score, select, and write what is kept: the main job"),
    "verify": ("verify", "check a finished output against its input"),
    "report": ("report", "write the report of a finished output: one page to look at"),
    "export": ("export", "write what is kept for other tools: embeddings, DataComp's uids"),
    "models": ("models", "fetch and verify the weights"),
    "demo": ("demo", "draw sample images, and run the main job on them"),
}


def usage() -> str:
    """Makes what `--help` prints."""
    lines = [f"usage: {PROGRAM} COMMAND ...", "", "Curates image training sets at scale, on Apache Beam.", ""]
    lines += [f"  {name:<8} {what}" for name, (_, what) in COMMANDS.items()]
    lines += ["", f"{PROGRAM} COMMAND --help lists the flags of a command; {PROGRAM} --version says the version."]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that the first argument names; gives its exit code, 2 if there is no such command."""
    words = sys.argv[1:] if argv is None else list(argv)
    if argv is None:
        unread_output.bear_with_readers_that_leave()
    if words[:1] in (["--help"], ["-h"], ["help"]):
        return _say(usage())
    if words[:1] == ["--version"]:
        return _say(f"{PROGRAM} {beam_curator.__version__}")
    if not words or words[0] not in COMMANDS:
        print(f"{PROGRAM}: {_what_is_wrong(words)}", file=sys.stderr)
        return 2
    module, _ = COMMANDS[words[0]]
    if argv is not None:
        return importlib.import_module(f"beam_curator.commands.{module}").main(words[1:])
    del sys.argv[1]  # the command is this process, and reads its own arguments
    return end_as_process(f"beam_curator.commands.{module}")


def run_as_process(module: str) -> int:
    """Imports a command and runs it on this process's arguments; Ctrl-C ends it in one line while it imports, too."""
    unread_output.bear_with_readers_that_leave()
    pass_over_pythons_end()
    pass_over_bigquery()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored, as under nohup
        signal.signal(signal.SIGINT, _end_at_once)
    try:
        code = importlib.import_module(module).main(None)
    except SystemExit as end:  # --help, and slips that argparse tells; a user's module may say anything as it ends
        if not isinstance(end.code, (int, type(None))):
            print(end.code, file=sys.stderr)
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return unread_output.exit_code(PROGRAM, code)


def end_as_process(module: str) -> NoReturn:
    """Does what `run_as_process` does, then what the user's own modules want done at the end, and ends this process.

    It does not end as interpreters do: there native libraries (Arrow, gRPC, torch) take down threads and memory of
    theirs, and have aborted in it, which made a failure of a job that was done.
    """
    code = run_as_process(module)
    atexit._run_exitfuncs()  # private; the public way, sys.exit, first joins threads that a library may never end
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(code)


def pass_over_pythons_end() -> None:
    """Silences Google's packages, each of which says in two lines that it will end with a Python that we support:
    before every error, and in each worker process that this one starts."""
    told_by = "google.api_core._python_version_support"
    warnings.filterwarnings("ignore", category=FutureWarning, module=re.escape(told_by))
    wanted = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [wanted, f"ignore::FutureWarning:{told_by}"]))


def pass_over_bigquery() -> None:
    """Beam warns where the extra `gcp` is not installed, whatever is asked of it, that it has no client of BigQuery."""
    logging.getLogger().addFilter(_is_not_of_bigquery)


def _is_not_of_bigquery(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("apitools not found, and bigquery client")


def _say(text: str) -> int:
    print(text)
    return unread_output.exit_code(PROGRAM, 0)


def _end_at_once(_number: int, _frame: FrameType | None) -> None:
    """Ends the process on Ctrl-C in the middle of an import, where an exception would come out as anything."""
    with contextlib.suppress(OSError):  # nobody reads it, or nothing takes it
        os.write(2, f"{PROGRAM}: interrupted\n".encode())
    os._exit(130)


def _what_is_wrong(words: Sequence[str]) -> str:
    known = ", ".join(COMMANDS)
    if not words:
        return f"give a command: {known} (see --help)"
    if words[0].startswith("-"):
        own = difflib.get_close_matches(words[0], ["--help", "--version"], n=1, cutoff=0.7)
        if own:
            return f"unknown argument {words[0]}: did you mean {own[0]}?"
        return f"{words[0]} comes after a command: {PROGRAM} curate {words[0]} ... (commands: {known})"
    near = difflib.get_close_matches(words[0], COMMANDS, n=1)
    return f"no command {words[0]}{f': did you mean {near[0]}?' if near else f': there are {known}'}"


if __name__ == "__main__":
    sys.exit(main())
