"""`beam-curator curate`: slips are told at once; then what the main job needs is imported, and it runs.

beam-curator curate --input 'raw/*.tar' --output curated --min_aesthetic 5.0 --max_nsfw 0.5
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from beam_curator.commands.flags import PROGRAM, check
from beam_curator.errors import UsageError

DESCRIPTION = """The main job: WebDataset shards in, scored and filtered shards out.

    beam-curator curate --input 'raw/*.tar' --output curated --model_dir models --min_aesthetic 5.0 --max_nsfw 0.5

The same command again goes on where it stopped; with other thresholds it selects anew, and scores nothing."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit code 0, 1 for a failed job, 2 for bad usage."""
    try:
        check(sys.argv[1:] if argv is None else argv, DESCRIPTION)
    except UsageError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    from beam_curator.commands import curate_images

    return curate_images.main(argv)
