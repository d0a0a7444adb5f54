"""`beam-curator verify`: its help and slips are told at once; then what it needs is imported, and it checks.

beam-curator verify curated
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from beam_curator.commands.flags import PROGRAM, Parser, refuse_slips
from beam_curator.errors import UsageError

DESCRIPTION = """Checks all that a finished job promised: reads its input and its output again, and compares them.

    beam-curator verify curated

It prints one line when all holds (exit code 0), or what differs (exit code 1): that the ledger balances and has each
sample of the input exactly once; that each kept sample is in its output shard, at its place, with its members bit for
bit, its embedding and its record; that the Parquet rows and statistics beside each shard are its own; that nothing else
is in the directory.
"""


def parser() -> Parser:
    """A parser of its flags; those of buckets are Beam's, and stay unknown to it."""
    made = Parser(
        prog=f"{PROGRAM} verify",
        description=DESCRIPTION,
        epilog="Beam's flags of buckets work as well, such as --s3_endpoint_url.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("output", metavar="OUT", help="output directory of a finished job; local, gs:// or s3://")
    made.add_argument(
        "--input_root",
        metavar="DIR",
        help="where the input is now, if it was moved: what stands for the deepest directory that held all of it",
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit code 0, 1 for differences, 2 for bad usage or where no job was finished."""
    known = parser()
    try:
        _, others = known.parse_known_args(argv)
        refuse_slips(known, others)
    except UsageError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    from beam_curator.commands import verify_output

    return verify_output.main(argv)
