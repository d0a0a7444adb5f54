"""The flags of a dry run, which no job has: they are neither Beam's nor recorded."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence

from beam_curator.commands.flag_types import positive_float, positive_int
from beam_curator.errors import UsageError

DRY_RUN = "--dry_run"
PREVIEW = "--preview"


@dataclasses.dataclass(frozen=True)
class DryRun:
    """The flags of a dry run.

    Attributes:
      trial: about how many images are scored to see how fast that is; None to score none.
      price_per_hour: of a worker, in whatever currency; None to tell no cost.
      bucket_mb_per_second: what the input's storage gives to all workers together, in MB/s; None where it is no bound.
      json: whether the estimate is printed as JSON.
    """

    trial: int | None = None
    price_per_hour: float | None = None
    bucket_mb_per_second: float | None = None
    json: bool = False


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    """Adds what is done instead of running, and how."""
    # Not among CurationOptions: Beam's testing options have a --dry_run of another kind, which takes a value.
    group = parser.add_argument_group("before the run")
    group.add_argument(
        DRY_RUN,
        action="store_true",
        help="write nothing and stop: print shards, ranges, what is scored already, models, and about how long the job "
        "will take",
    )
    group.add_argument(
        "--trial",
        type=positive_int,
        metavar="N",
        help="with --dry_run: score about N images on this machine (whole ranges, one at least) to see how fast it is; "
        "their scores are kept in --output, and the job does not compute them again",
    )
    group.add_argument(
        "--price_per_hour",
        type=positive_float,
        metavar="PRICE",
        help="with --dry_run: what a worker costs an hour, in your currency, to print what the scoring will cost",
    )
    group.add_argument(
        "--bucket_mb_per_second",
        type=positive_float,
        metavar="MB",
        help="with --dry_run: how many MB/s the storage of the input gives to all workers together: the estimate says "
        "from how many workers on that limits the job",
    )
    group.add_argument("--json", action="store_true", help="with --dry_run: print the estimate as JSON")
    group.add_argument(
        PREVIEW,
        action="store_true",
        help="write nothing and stop: print how many of the samples that are scored already the flags would select, "
        "what each rule would drop in its turn and alone, and what would change against the last selection",
    )


def instead_of_running(flags: argparse.Namespace) -> str:
    """Says what the command does in place of running: DRY_RUN, PREVIEW, or "" to run.

    Raises:
      UsageError: both, or a flag of a dry run without one.
    """
    if flags.dry_run and flags.preview:
        raise UsageError(
            f"{DRY_RUN} and {PREVIEW}: give one of them: {DRY_RUN} tells what is still to be read and scored, "
            f"{PREVIEW} what would be selected of what is scored"
        )
    for name in ("trial", "price_per_hour", "bucket_mb_per_second", "json"):
        if getattr(flags, name) and not flags.dry_run:
            raise UsageError(f"--{name} tells about a job before it runs: give {DRY_RUN} with it")
    return DRY_RUN if flags.dry_run else PREVIEW if flags.preview else ""


def split_off(argv: Sequence[str]) -> tuple[DryRun, list[str]]:
    """The flags of a dry run, and all other arguments, which are Beam's and the job's."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_dry_run(parser)
    flags, others = parser.parse_known_args(list(argv))
    return DryRun(flags.trial, flags.price_per_hour, flags.bucket_mb_per_second, flags.json), others
