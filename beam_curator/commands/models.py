"""`beam-curator models`: its help and slips are told at once; then what it needs is imported, and it fetches.

beam-curator models --model_dir models
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from beam_curator.commands.flags import PROGRAM, refuse_slips
from beam_curator.commands.plain_flags import models_parser
from beam_curator.errors import UsageError


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit code 0, 1 if weights could not be had, 2 for bad usage."""
    known = models_parser()
    try:
        _, others = known.parse_known_args(argv)
        refuse_slips(known, others)
    except UsageError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    from beam_curator.commands import fetch_models

    return fetch_models.main(argv)
