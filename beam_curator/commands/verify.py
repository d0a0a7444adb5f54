"""`beam-curator verify`: its help and slips are told at once; then what it needs is imported, and it checks.

beam-curator verify curated
"""

from __future__ import annotations

from collections.abc import Sequence

from beam_curator.commands.plain_flags import tells_slip, verify_parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit code 0, 1 for differences, 2 for bad usage or where no job was finished."""
    if tells_slip(verify_parser(), argv):
        return 2
    from beam_curator.commands import verify_output

    return verify_output.main(argv)
