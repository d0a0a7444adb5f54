"""`beam-curator models`: its help and slips are told at once; then what it needs is imported, and it fetches.

beam-curator models --model_dir models
"""

from __future__ import annotations

from collections.abc import Sequence

from beam_curator.commands.plain_flags import models_parser, tells_slip


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit code 0, 1 if weights could not be had, 2 for bad usage."""
    if tells_slip(models_parser(), argv):
        return 2
    from beam_curator.commands import fetch_models

    return fetch_models.main(argv)
