"""Does what `beam-curator report` is for, once its flags are read: writes the report, and says where it is."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from beam_curator.commands import parsing, running
from beam_curator.commands.flags import PROGRAM
from beam_curator.commands.plain_flags import report_parser
from beam_curator.errors import JobError, StorageError
from beam_curator.first_few import counted
from beam_curator.report.writing import write_report


def run(argv: Sequence[str]) -> int:
    """Parses, writes and prints; gives the exit code."""
    flags, others = report_parser().parse_known_args(list(argv))
    parsing.use_storage_flags(others)
    try:
        written = write_report(flags.output, flags.input_root)
    except StorageError as error:  # that there is no finished job is told as a UsageError, before
        raise JobError(str(error)) from error
    kept, seen = written.counts["kept"], written.counts["seen"]
    if written.lost:
        reasons = ", ".join(f"{why} ({count:,})" for why, count in written.lost.items())
        lost = f"{sum(written.lost.values()):,} of {counted(written.pictures, 'picture')}"
        told = f"note: {lost} cannot be shown: {reasons}; where the input was moved, --input_root says to where"
        print(told, file=sys.stderr)
    print(
        f"{written.page}: {written.page_bytes / 1e6:.1f} MB, {kept:,} of {counted(seen, 'sample')} kept; open it in "
        f"any browser. Its figures: {written.figures}"
    )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit code 0, 1 for a damaged ledger, 2 where no job was finished."""
    return running.last_exit_code(PROGRAM, run, argv)
