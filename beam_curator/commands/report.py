"""`beam-curator report`: its help and slips are told at once; then what it needs is imported, and it writes the report.

beam-curator report curated
"""

from __future__ import annotations

from collections.abc import Sequence

from beam_curator.commands.plain_flags import report_parser, tells_slip


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit code 0, 1 for a damaged ledger, 2 for bad usage or where no job was finished."""
    if tells_slip(report_parser(), argv):
        return 2
    from beam_curator.commands import write_report

    return write_report.main(argv)
