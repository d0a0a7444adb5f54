"""`beam-curator verify`: its help and slips are told at once; then what it needs is imported, and it checks.

beam-curator verify curated
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from beam_curator.commands.flags import PROGRAM, refuse_slips
from beam_curator.commands.plain_flags import verify_parser
from beam_curator.errors import UsageError


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit code 0, 1 for differences, 2 for bad usage or where no job was finished."""
    known = verify_parser()
    try:
        _, others = known.parse_known_args(argv)
        refuse_slips(known, others)
    except UsageError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    from beam_curator.commands import verify_output

    return verify_output.main(argv)
