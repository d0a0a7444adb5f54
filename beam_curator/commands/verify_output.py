"""Checks all that a finished job promised: reads its input and its output again, and compares them.

    beam-curator verify curated

It prints one line when all holds (exit code 0), or what differs (exit code 1): that the ledger balances and has each
sample of the input exactly once; that each kept sample is in its output shard, at its place, with its members bit for
bit, its embedding and its record; that the Parquet rows and statistics beside each shard are its own; that nothing else
is in the directory.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

from beam_curator.commands import interruption, parsing, running
from beam_curator.first_few import SHOWN
from beam_curator.verification import Difference, Tally, read_finished, verify


def run(argv: Sequence[str]) -> int:
    """Parses, checks and prints; gives the exit code."""
    parser = parsing.Parser(prog="beam-curator verify", description=__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("output", metavar="OUT", help="output directory of a finished job; local, gs:// or s3://")
    parser.add_argument(
        "--input_root",
        metavar="DIR",
        help="where the input is now, if it was moved: what stands for the deepest directory that held all of it",
    )
    flags, others = parser.parse_known_args(list(argv))
    parsing.use_storage_flags(others)
    tally = Tally()
    found = _print_first(verify(read_finished(flags.output, flags.input_root), tally))
    if found:
        more = f", the first {SHOWN} of which are shown: {found - SHOWN:,} more" if found > SHOWN else ""
        print(f"{flags.output}: {found:,} difference{'s' if found > 1 else ''}{more}")
        return 1
    print(
        f"{flags.output}: all as promised: {tally.samples:,} samples in {tally.shards:,} shards of the input, "
        f"{tally.output_shards:,} output shards, {tally.members:,} members compared"
    )
    return 0


def _print_first(differences: Iterable[Difference]) -> int:
    """Prints the first differences, and gives the number of all."""
    found = 0
    for found, difference in enumerate(differences, 1):
        if found <= SHOWN:
            print(difference)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit code 0, 1 for differences, 2 where no job was finished."""
    code = running.exit_code("beam-curator", run, argv)
    if argv is None:  # the command is this process
        interruption.end_process(code)
    return code


if __name__ == "__main__":
    main()
