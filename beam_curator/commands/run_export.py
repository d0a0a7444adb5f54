"""Does what `beam-curator export` is for, once its flags are read: writes, and says what and where."""

from __future__ import annotations

from collections.abc import Sequence

from beam_curator.commands import parsing, running
from beam_curator.commands.export_flags import EMBEDDINGS, ROWS_PER_FILE, export_parser
from beam_curator.commands.flags import PROGRAM
from beam_curator.errors import UsageError
from beam_curator.exports.datacomp_uids import export_datacomp_uids
from beam_curator.exports.embeddings import LANCE, export_embeddings
from beam_curator.first_few import counted


def run(argv: Sequence[str]) -> int:
    """Parses, exports and prints; gives the exit code."""
    what, *words = argv
    flags, others = export_parser(what).parse_known_args(words)
    parsing.use_storage_flags(others)
    out, to = flags.out.rstrip("/") or "/", flags.output.rstrip("/") or "/"
    if what == EMBEDDINGS:
        if flags.rows_per_file and flags.format == LANCE:
            raise UsageError(f"--rows_per_file {flags.rows_per_file}: {LANCE} has files of its own sizes: leave it out")
        count = export_embeddings(out, to, flags.format, flags.rows_per_file or ROWS_PER_FILE)
        print(f"{to}: {counted(count, 'embedding')} with their rows, as {flags.format}")
    else:
        print(f"{to}: {counted(export_datacomp_uids(out, to), 'uid')}, sorted, of what {out} keeps")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit code 0, 1 where what is exported is not all there, 2 for bad usage."""
    return running.last_exit_code(PROGRAM, run, argv)
