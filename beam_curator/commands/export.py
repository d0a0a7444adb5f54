"""`beam-curator export`: its help and slips are told at once; then what it needs is imported, and it exports.

beam-curator export embeddings curated --output vectors
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from beam_curator.commands.export_flags import export_parser
from beam_curator.commands.flags import PROGRAM, refuse_empty, refuse_slips
from beam_curator.errors import UsageError


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit code 0, 1 where what is exported is not all there, 2 for bad usage."""
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        parser = export_parser(words[0] if words else "")
        refuse_slips(parser, words)  # first: what a slip leaves out would be told as missing
        flags, _ = parser.parse_known_args(words[1:] if parser.prog != f"{PROGRAM} export" else words)
        refuse_empty(parser, flags)
    except UsageError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    from beam_curator.commands import run_export

    return run_export.main(argv)
