"""The flags of the main job, by group, each with its help. Nothing heavy is imported here, as in `flags`."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from beam_curator.commands.flag_types import (
    SWITCH,
    Joined,
    accelerator,
    batch_size,
    carried_fields,
    finite_float_or_none,
    fraction,
    input_format,
    member_sources,
    min_ram,
    not_negative_int,
    positive_float,
    positive_int,
    ranges_per_file,
    ratio,
)
from beam_curator.commands.preset_flag import preset_names
from beam_curator.defaults import (
    DEFAULT_MAX_NSFW,
    DEFAULT_MIN_AESTHETIC,
    DEFAULT_MODEL,
    DEFAULT_PRETRAINED,
    DEFAULT_RANGE_MB,
    DEFAULT_SAMPLES_PER_SHARD,
    NO_LIMIT,
    NO_MODEL,
    TEXT_MEMBERS,
    TINY_UNTRAINED,
    UNTRAINED,
)
from beam_curator.field_names import ALL, NONE
from beam_curator.given_paths import at_home
from beam_curator.models.encoders.settings import SETTINGS
from beam_curator.reading import DEFAULT_READING, SEVERAL_IMAGES
from beam_curator.sources.formats import AUTO


def add_input_and_output(group: argparse._ArgumentGroup) -> None:
    """Adds the flags of the input and the output."""
    _add_input(group)
    _add_output(group)
    _add_output_directory(group)


def _add_input(group: argparse._ArgumentGroup) -> None:
    """Adds the flags that say what is read."""
    group.add_argument(
        "--input",
        action="append",
        metavar="INPUT",
        help="tar shards, Parquet files with images, a folder of images, or a list of images: a path, glob (** is any "
        "depth), directory or brace range such as {00000..00099}.tar; local, gs://, s3:// or what fsspec reaches; or "
        "@FILE with one on each line; may be given again",
    )
    group.add_argument(
        "--input_format",
        type=input_format,
        default=AUTO,
        metavar="FORMAT",
        help="what --input names: webdataset (tars), parquet (a column of image bytes), mds (MosaicML's shards), "
        "folder, or list (CSV, TSV, JSON lines, Parquet or text of paths or urls); package.module:Object for a source "
        "of your own (default: told from names and content)",
    )
    group.add_argument(
        "--image_column",
        metavar="NAME",
        help="the column of images of Parquet files, or of paths of a list (default: found by type and name)",
    )
    group.add_argument(
        "--caption_column",
        metavar="NAME",
        help="the column of captions of Parquet files, lists and a folder's metadata (default: caption, text or "
        "another usual name)",
    )
    group.add_argument(
        "--allow_missing",
        **SWITCH,
        help="go on when something that --input names is missing or cannot be read; the manifest lists what is missing",
    )


def _add_output(group: argparse._ArgumentGroup) -> None:
    """Adds the flags that say what is written, and in what pieces."""
    group.add_argument("--output", type=at_home, metavar="DIR", help="output directory; local, gs:// or s3://")
    group.add_argument(
        "--samples_per_shard",
        type=positive_int,
        default=DEFAULT_SAMPLES_PER_SHARD,
        metavar="N",
        help="samples in every output shard but the last (default: %(default)s)",
    )
    group.add_argument(
        "--range_mb",
        type=positive_float,
        metavar="MIB",
        help="about how many MiB of a shard are one range, the unit of work; an output directory keeps the size that "
        f"its first run had (default: {DEFAULT_RANGE_MB})",
    )
    group.add_argument(
        "--ranges_per_ledger_file",
        type=ranges_per_file,
        metavar="N",
        help="how many ranges share one Parquet file of the ledger, 1 to 100,000 (default: 1 for a job of up to 10,000 "
        "ranges, 1,000 for a larger one)",
    )


def _add_output_directory(group: argparse._ArgumentGroup) -> None:
    """Adds the flags that say what becomes of what stands in the output directory, and the report."""
    group.add_argument(
        "--scores_from",
        type=at_home,
        metavar="DIR",
        help="select from the scores in this finished output directory, which a job with the same input and models "
        "wrote: nothing is scored or copied, so several selections can share one set of scores",
    )
    group.add_argument(
        "--overwrite",
        **SWITCH,
        help="begin anew: first remove all that an earlier job left in the output directory, its embeddings and scores "
        "as well",
    )
    group.add_argument(
        "--fewer_shards",
        **SWITCH,
        help="allow --input to leave out shards that an earlier run into --output read and that still exist: their "
        "samples leave the selection, and their scores are kept",
    )
    group.add_argument(
        "--take_over",
        **SWITCH,
        help="take the output directory over from a job that died while it held it; if that job is still running, it "
        "fails",
    )
    group.add_argument(
        "--report",
        **{**SWITCH, "default": True},
        help="at the end, write report.html, a page with histograms and example images, and report.json with its "
        "figures; with false, beam-curator report can write them later (default: true)",
    )


def add_samples(group: argparse._ArgumentGroup) -> None:
    """Adds the flags of samples."""
    group.add_argument(
        "--group_by_key",
        **SWITCH,
        help="join all members of a shard that share a key into one sample, wherever they stand in it; by default only "
        "consecutive members are joined, as WebDataset does",
    )
    group.add_argument(
        "--several_images",
        choices=SEVERAL_IMAGES,
        default=DEFAULT_READING.several_images,
        help="what becomes of a sample with several images: fail (it is not used), first (its first image is scored), "
        "or all (all its images are scored, and the worst score decides) (default: %(default)s)",
    )
    group.add_argument(
        "--image_from",
        type=member_sources("image_from"),
        metavar="EXTENSIONS",
        help="extension of the member that is the image, such as jpg or left.png; of several, separated by commas, the "
        "first that a sample has (default: the sample's only image)",
    )
    group.add_argument(
        "--caption_from",
        type=member_sources("caption_from"),
        metavar="SOURCES",
        help="where the caption is: the extension of a member, such as txt, or a field of a JSON member, such as "
        "json:caption; of several, separated by commas, the first that is not empty (default: "
        f"{','.join(TEXT_MEMBERS)}, then fields of json such as caption and text)",
    )
    group.add_argument(
        "--carry",
        type=carried_fields,
        default=ALL,
        metavar="FIELDS",
        help="which fields of a sample's .json become columns (url is json.url in rules, json_url in the ledger): "
        f"{ALL}, {NONE}, or names separated by commas, such as url,similarity; for fields that are added later, shards "
        "are read again and nothing is embedded (default: %(default)s)",
    )


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


def add_running(group: argparse._ArgumentGroup) -> None:
    """Adds the flags of running elsewhere."""
    group.add_argument(
        "--scoring_accelerator",
        type=accelerator,
        metavar="HINT",
        help="accelerator for the steps that score, and for no others, as a resource hint of the runner's; on Dataflow "
        "such as type:nvidia-l4;count:1;install-nvidia-driver",
    )
    group.add_argument(
        "--scoring_min_ram",
        type=min_ram,
        metavar="SIZE",
        help="memory that workers need for scoring, as a resource hint, such as 30GB",
    )
    group.add_argument(
        "--no_wait",
        **SWITCH,
        help="on Dataflow: submit the job, and do not wait for its end",
    )
