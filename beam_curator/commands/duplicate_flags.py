"""The flags about duplicates."""

from __future__ import annotations

import argparse

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


def add_duplicates(group: argparse._ArgumentGroup) -> None:
    """Adds the flags about duplicates."""
    _add_kinds(group)
    _add_choice(group)
    _add_others(group)


def _add_kinds(group: argparse._ArgumentGroup) -> None:
    """Adds the flags that say what a duplicate is."""
    group.add_argument(
        "--duplicates",
        type=_kinds,
        metavar="KINDS",
        help="of the samples that the rules keep, drop duplicates of these kinds, separated by commas: exact (the same "
        "bytes), perceptual (pictures that look alike), semantic (embeddings that are near) (default: none)",
    )
    group.add_argument(
        "--duplicate_cosine",
        type=_cosine,
        metavar="COSINE",
        help="least cosine similarity of the embeddings of semantic duplicates, -1 to 1; in a later run a higher value "
        f"reads no embeddings again (default: {DEFAULT_DUPLICATE_COSINE})",
    )
    group.add_argument(
        "--duplicate_bits",
        type=_bits,
        metavar="BITS",
        help="in how many bits the 256-bit perceptual hashes of perceptual duplicates differ at most, 0 to 96 "
        f"(default: {DEFAULT_DUPLICATE_BITS})",
    )


def _add_choice(group: argparse._ArgumentGroup) -> None:
    """Adds the flags that say which one of several stays, and whether captions count."""
    group.add_argument(
        "--keep",
        choices=KEEP_ORDERS,
        help="which one of several duplicates stays: the one with the most pixels (resolution), with the highest score "
        f"(aesthetic, similarity), or the first of the input (first) (default: {BY_RESOLUTION})",
    )
    group.add_argument(
        "--duplicates_by",
        choices=("image", "image+caption"),
        help="image: samples are duplicates by their images alone; image+caption: only if their captions are the same "
        "as well (default: image)",
    )


def _add_others(group: argparse._ArgumentGroup) -> None:
    """Adds the flags of other outputs, and of faster comparing."""
    group.add_argument(
        "--against",
        action="append",
        type=at_home,
        metavar="OUTPUT",
        help="a finished output, such as of an earlier release of the data or of an evaluation set: samples that it "
        "kept, and duplicates of these, are dropped; may be given again",
    )
    group.add_argument(
        "--duplicate_embeddings",
        type=at_home,
        metavar="OUTPUT",
        help="find semantic duplicates by the embeddings in another finished output over the same input, such as those "
        "of an encoder that was trained to detect copies (default: the job's own embeddings)",
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
