"""The flags that say what is kept, but for duplicates. Nothing heavy is imported here, as in `flags`."""

from __future__ import annotations

import argparse

from beam_curator.commands.flag_types import (
    Joined,
    finite_float_or_none,
    fraction,
    not_negative_int,
    positive_int,
    ratio,
)
from beam_curator.commands.preset_flag import preset_names
from beam_curator.defaults import DEFAULT_MAX_NSFW, DEFAULT_MIN_AESTHETIC, NO_LIMIT


def add_selection(group: argparse._ArgumentGroup) -> None:
    """Adds the flags of selection."""
    _add_thresholds(group)
    _add_whole_selection(group)
    _add_rules(group)


def _add_thresholds(group: argparse._ArgumentGroup) -> None:
    """Adds the flags that decide on each sample by itself."""
    group.add_argument(
        "--preset",
        choices=preset_names(),
        help="a published recipe of selection: stands for flags, which are printed before the work begins; other flags "
        "on the command line are added to these, and override them",
    )
    group.add_argument(
        "--min_aesthetic",
        type=finite_float_or_none,
        metavar="SCORE",
        help=f"keep images that score at least this, about 0 to 10; {NO_LIMIT} for no such rule (default: "
        f"{DEFAULT_MIN_AESTHETIC}, where there is such a score)",
    )
    group.add_argument(
        "--max_nsfw",
        type=finite_float_or_none,
        metavar="SCORE",
        help=f"keep images that score below this, 0 to 1; {NO_LIMIT} for no such rule (default: "
        f"{DEFAULT_MAX_NSFW}, where there is such a score)",
    )
    group.add_argument(
        "--min_width",
        type=not_negative_int,
        default=0,
        metavar="PIXELS",
        help="keep images at least this wide",
    )
    group.add_argument(
        "--min_height",
        type=not_negative_int,
        default=0,
        metavar="PIXELS",
        help="keep images at least this high",
    )
    group.add_argument(
        "--max_aspect_ratio",
        type=ratio,
        metavar="RATIO",
        help="keep images whose longer side is at most this many times the shorter one",
    )
    group.add_argument(
        "--where",
        action="append",
        metavar="CONDITION",
        help="keep samples for which a SQL condition on columns of the ledger, scores among them, is true, such as "
        '"aesthetic >= 5 OR width > 900"; tried after the thresholds and before --rule; may be given again',
    )


def _add_whole_selection(group: argparse._ArgumentGroup) -> None:
    """Adds the flags for which all samples are looked at together."""
    group.add_argument(
        "--max_caption_repeats",
        type=positive_int,
        metavar="N",
        help="of the samples that pass all rules, keep those whose caption occurs at most N times in the whole input, "
        "as COYO-700M does with 10",
    )
    for flag, which in (("--allow", "only samples in a list"), ("--block", "no sample of a list")):
        group.add_argument(
            flag,
            action="append",
            metavar="FILE",
            help=f"of the samples that pass all rules, keep {which} of sample_id, uid or url (the input's own), key, "
            "sha256 or phash: Parquet, CSV, text or npy, of any length; COLUMN=FILE where the file does not say which; "
            "may be given again",
        )
    group.add_argument(
        "--keep_top",
        action="append",
        metavar="COLUMN=FRACTION",
        help="of the samples that pass all rules, keep the fraction with the highest values of a column, such as "
        "similarity=0.3, as DataComp does; given again for another column, keeps a fraction of what is left",
    )
    group.add_argument(
        "--keep_best",
        action=Joined,
        nargs="+",
        metavar=("N", "COLUMN"),
        help="of the samples that --keep_top leaves, keep the N with the highest values of a column, such as 1000000 "
        "aesthetic, and all that equal the last of them; may be given again",
    )


def _add_rules(group: argparse._ArgumentGroup) -> None:
    """Adds the user's own rules, and the limit of failures."""
    group.add_argument(
        "--rule",
        action="append",
        metavar="RULE",
        help="rule of your own, [NAME=]package.module:object[(ARGUMENTS)], such as 'my_rules:longer_than(words=4)': a "
        "function that is called with a sample's row, and keeps it by returning True; the ledger gives NAME as the "
        "reason for what it drops; may be given again",
    )
    group.add_argument(
        "--max_failed_fraction",
        type=fraction,
        default=1.0,
        metavar="FRACTION",
        help="fail the job when more than this fraction of the samples cannot be used; a broken shard counts as about "
        "as many as its unread bytes would hold, at least one; a job in which every sample failed always fails "
        "(default: %(default)s)",
    )
