"""Flags of the commands that run no pipeline. Nothing heavy is imported here, as in `flags`.

Beam's flags for buckets work beside them, and stay unknown to these parsers.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from beam_curator.commands.flags import PROGRAM, Parser, refuse_empty, refuse_slips
from beam_curator.defaults import DEFAULT_MODEL, DEFAULT_PRETRAINED
from beam_curator.errors import UsageError

_EPILOG = "Beam's flags for buckets work as well, such as --s3_endpoint_url."

_VERIFY = """Checks all that a finished job promised: reads its input and its output again, and compares them.

    beam-curator verify curated

It checks that the ledger balances and has each sample of the input exactly once; that each kept sample is in its
output shard, at its place, with its members bit for bit, its embedding and its KEY.curation.json; that the Parquet rows
and statistics beside each shard agree with it; that each dropped duplicate has a better one that was kept, and no two
kept samples are duplicates; that nothing else is in the directory. If all of this holds, it prints one line (exit code
0), else what differs (exit code 1).
"""

_REPORT = """Writes the report of a finished job into its output directory: report.html, a page with histograms and
example images that opens without a server or a network, and report.json with its figures.

    beam-curator report curated

A job writes its report at its end, unless it runs with --report false. This command writes it afterwards, also for the
output of an earlier release.
"""

_MODELS = """Fetches the weights of the encoder and of the published heads (aesthetic v2 and v1, NSFW), and verifies
their sha256. Files that are in --model_dir already are verified, and not fetched again.

    beam-curator models --model_dir models
"""


def tells_slip(known: Parser, argv: Sequence[str] | None) -> bool:
    """Looks for a slip in arguments that `known` should know, and prints it; returns whether there was one.

    Raises:
      SystemExit: after --help.
    """
    words = sys.argv[1:] if argv is None else argv
    try:
        refuse_slips(known, words)  # first: what a slip leaves out would be told as missing
        refuse_empty(known, known.parse_known_args(words)[0])
    except UsageError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return True
    return False


def verify_parser() -> Parser:
    """Makes the parser of the flags of `beam-curator verify`."""
    made = _parser("verify", _VERIFY)
    _add_finished_job(made)
    return made


def report_parser() -> Parser:
    """Makes the parser of the flags of `beam-curator report`."""
    made = _parser("report", _REPORT)
    _add_finished_job(made)
    return made


def _parser(command: str, description: str) -> Parser:
    return Parser(
        prog=f"{PROGRAM} {command}",
        description=description,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _add_finished_job(made: Parser) -> None:
    made.add_argument("output", metavar="OUT", help="output directory of a finished job; local, gs:// or s3://")
    made.add_argument(
        "--input_root",
        metavar="DIR",
        help="if the input was moved since the job: its new directory, in place of the deepest one that contained all "
        "shards",
    )


def models_parser() -> Parser:
    """Makes the parser of the flags of `beam-curator models`."""
    made = _parser("models", _MODELS)
    made.add_argument(
        "--model_dir",
        required=True,
        metavar="DIR",
        help="directory for the weights, local or in a bucket (gs://, s3://)",
    )
    made.add_argument(
        "--encoder",
        "--clip_model",
        dest="clip_model",
        metavar="NAME",
        default=DEFAULT_MODEL,
        help="open_clip architecture, or timm:NAME for a model of timm (default: %(default)s)",
    )
    made.add_argument(
        "--clip_pretrained",
        metavar="TAG",
        default=DEFAULT_PRETRAINED,
        help="open_clip tag of the weights (default: %(default)s)",
    )
    return made
