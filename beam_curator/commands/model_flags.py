"""The flags of the encoder, its settings, and all that scores. Nothing heavy is imported here, as in `flags`."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from beam_curator.commands.flag_types import SWITCH, batch_size, not_negative_int, positive_int
from beam_curator.defaults import DEFAULT_MODEL, DEFAULT_PRETRAINED, NO_MODEL, TINY_UNTRAINED, UNTRAINED
from beam_curator.given_paths import at_home
from beam_curator.models.encoders.settings import SETTINGS


def add_models(group: argparse._ArgumentGroup) -> None:
    """Adds the flags of models."""
    _add_encoder(group)
    _add_heads(group)
    _add_scorers(group)
    for setting in SETTINGS:
        _add_setting(group, setting)


def _add_encoder(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--model_dir", type=at_home, metavar="DIR", help="directory to look for weights in first; local, gs:// or s3://"
    )
    group.add_argument(
        "--encoder",
        "--clip_model",
        dest="clip_model",
        default=DEFAULT_MODEL,
        metavar="NAME",
        help="model that embeds the images: an open_clip architecture; timm:NAME for a model of timm, such as DINOv2; "
        "package.module:Object for an encoder of your own, with arguments as in --scorer; or "
        f"{TINY_UNTRAINED}, which needs no weights and whose scores mean nothing, to try things out "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--clip_pretrained",
        type=at_home,
        default=DEFAULT_PRETRAINED,
        metavar="TAG",
        help="weights of an open_clip encoder: a tag of open_clip, or the path of a checkpoint, local or in a bucket; "
        "with timm, the tag is part of the name that --encoder gives (default: %(default)s)",
    )


def _add_heads(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--aesthetic_model",
        type=at_home,
        metavar="NAME",
        help=f"head for the column aesthetic: v2 or v1 (LAION's), {UNTRAINED}, {NO_MODEL}, or the path of its weights "
        f"(default: v2; {UNTRAINED} with --encoder {TINY_UNTRAINED})",
    )
    group.add_argument(
        "--nsfw_model",
        type=at_home,
        metavar="NAME",
        help=f"head for the column nsfw: laion, {UNTRAINED}, {NO_MODEL}, or the path of its weights (default: laion; "
        f"{UNTRAINED} with --encoder {TINY_UNTRAINED})",
    )


def _add_scorers(group: argparse._ArgumentGroup) -> None:
    """Adds the flags of all other scores."""
    group.add_argument(
        "--prompt",
        action="append",
        metavar="PROMPT",
        help="zero-shot score, such as 'watermark=a photo with a watermark|a clean photo': the column watermark is the "
        "probability of the first text against the others, by the encoder's own text tower; may be given again",
    )
    group.add_argument(
        "--similarity",
        **SWITCH,
        help="score how well a caption describes its image, as the column similarity: the cosine of both embeddings, "
        "with the encoder's own text tower",
    )
    group.add_argument(
        "--keep_text_embeddings",
        **SWITCH,
        help="keep an embedding of each caption, by the encoder's own text tower, beside that of its image: later runs "
        "compute similarity from it, and beam-curator export embeddings writes it",
    )
    group.add_argument(
        "--image_measures",
        **SWITCH,
        help="measure brightness, contrast, blur, entropy and greyscale of each picture, as columns for rules",
    )
    group.add_argument(
        "--caption_measures",
        **SWITCH,
        help="count words and characters of each caption and tell its language, as columns for rules; needs the extra "
        "beam-curator[language]",
    )
    group.add_argument(
        "--scorer",
        action="append",
        metavar="SCORER",
        help="scorer of your own (package.module:Object) or of an installed package (NAME), with arguments as in "
        "'my_scorers:Warmth(side=64)', 'NAME side=64' or 'NAME {\"side\": 64}'; rules can use its columns; may be "
        "given again",
    )
    group.add_argument(
        "--accept_other_encoder",
        **SWITCH,
        help="let the published heads score embeddings of an encoder other than OpenAI's CLIP ViT-L/14, which they "
        "were trained on: such scores may mean nothing, and are marked so wherever they show",
    )


def _add_setting(group: argparse._ArgumentGroup, setting: dataclasses.Field[Any]) -> None:
    """Adds the flag of one of the encoder's settings."""
    flag, told, choices, least = f"--{setting.name}", *map(setting.metadata.get, ("help", "choices", "least"))
    if isinstance(setting.default, bool):
        group.add_argument(flag, **SWITCH, help=told)
        return
    told = f"{told} (default: %(default)s)"
    if least is None:
        group.add_argument(flag, choices=choices, default=setting.default, help=told)
        return
    number = batch_size if choices else positive_int if least else not_negative_int
    group.add_argument(flag, type=number, default=setting.default, metavar="N", help=told)
