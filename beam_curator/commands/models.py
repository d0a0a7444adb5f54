"""`beam-curator models`: its help and slips are told at once; then what it needs is imported, and it fetches.

beam-curator models --model_dir models
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from beam_curator.commands.flags import PROGRAM, Parser, refuse_slips
from beam_curator.defaults import DEFAULT_MODEL, DEFAULT_PRETRAINED
from beam_curator.errors import UsageError

DESCRIPTION = (
    "Fetch and verify the weights of CLIP and of the score heads. Files already there are verified, not fetched again."
)


def parser() -> Parser:
    """A parser of its flags; those of buckets are Beam's, and stay unknown to it."""
    made = Parser(
        prog=f"{PROGRAM} models",
        description=DESCRIPTION,
        epilog="Beam's flags of buckets work as well, such as --s3_endpoint_url.",
        allow_abbrev=False,
    )
    made.add_argument(
        "--model_dir", required=True, metavar="DIR", help="directory, local or in a bucket (gs://, s3://)"
    )
    made.add_argument(
        "--encoder",
        "--clip_model",
        dest="clip_model",
        metavar="NAME",
        default=DEFAULT_MODEL,
        help="open_clip model, or timm:NAME (default: %(default)s)",
    )
    made.add_argument(
        "--clip_pretrained", metavar="TAG", default=DEFAULT_PRETRAINED, help="its open_clip tag (default: %(default)s)"
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit code 0, 1 if weights could not be had, 2 for bad usage."""
    known = parser()
    try:
        _, others = known.parse_known_args(argv)
        refuse_slips(known, others)
    except UsageError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    from beam_curator.commands import fetch_models

    return fetch_models.main(argv)
