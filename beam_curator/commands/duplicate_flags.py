"""The flags about duplicates."""

from __future__ import annotations

import argparse
from typing import Any

from beam_curator.commands.flag_types import number, whole_number
from beam_curator.defaults import (
    BY_RESOLUTION,
    DEFAULT_DUPLICATE_BITS,
    DEFAULT_DUPLICATE_COSINE,
    DUPLICATE_KINDS,
    KEEP_ORDERS,
)
from beam_curator.given_paths import at_home

_PROVEN = "proven"


def add_duplicates(group: Any) -> None:
    """Adds the flags."""
    group.add_argument(
        "--duplicates",
        type=_kinds,
        metavar="KINDS",
        help=f"drop what repeats, of the samples that the rules keep: some of {','.join(DUPLICATE_KINDS)}, with commas "
        "between: the same bytes; pictures that look alike; embeddings that are near (default: none)",
    )
    group.add_argument(
        "--duplicate_cosine",
        type=_cosine,
        metavar="COSINE",
        help="the least cosine of the embeddings of semantic duplicates, -1 to 1 (default: "
        f"{DEFAULT_DUPLICATE_COSINE}); a new one that is not lower than those before reads no embedding",
    )
    group.add_argument(
        "--duplicate_bits",
        type=_bits,
        metavar="BITS",
        help="how far perceptual duplicates are apart at most, in bits of their 256-bit hashes, 0 to 96 (default: "
        f"{DEFAULT_DUPLICATE_BITS})",
    )
    group.add_argument(
        "--keep",
        choices=KEEP_ORDERS,
        help="which one of several stays: that with the most pixels, that with the highest score, or the first of the "
        f"input (default: {BY_RESOLUTION})",
    )
    group.add_argument(
        "--duplicates_by",
        choices=("image", "image+caption"),
        help="whether samples with different captions may be duplicates (default: image, they may)",
    )
    group.add_argument(
        "--against",
        action="append",
        type=at_home,
        metavar="OUTPUT",
        help="a finished output, such as that of an earlier release of the data or of an evaluation set: what it kept "
        "is never output again, nor is what repeats it; may be given again",
    )
    group.add_argument(
        "--duplicate_embeddings",
        type=at_home,
        metavar="OUTPUT",
        help="tell semantic duplicates by the embeddings in another finished output over the same input, such as those "
        "of an encoder that was made for copies, where --encoder is what scores are computed from (default: the job's "
        "own)",
    )
    group.add_argument(
        "--duplicate_slack",
        type=_slack,
        metavar="SLACK",
        help=f"{_PROVEN} finds every pair of semantic duplicates; a number below 0.5, such as 0.2, finds nearly all, "
        f"and is faster where --duplicate_cosine is low (default: {_PROVEN})",
    )


def _kinds(text: str) -> list[str] | None:
    if text == "none":
        return None
    kinds = [kind.strip() for kind in text.split(",")]
    unknown = [kind for kind in kinds if kind not in DUPLICATE_KINDS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0] or text!r} is none of {', '.join(DUPLICATE_KINDS)}")
    return [kind for kind in DUPLICATE_KINDS if kind in kinds]


def _cosine(text: str) -> float:
    value = number(text)
    if not -1 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between -1 and 1")
    return value


def _bits(text: str) -> int:
    value = whole_number(text)
    if not 0 <= value <= 96:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 96; unlike pictures differ in over 90 bits")
    return value


def _slack(text: str) -> float:
    value = 0.5 if text == _PROVEN else number(text)
    if not 0 < value <= 0.5:
        raise argparse.ArgumentTypeError(f"{text} is not {_PROVEN}, nor above 0 and up to 0.5")
    return value
