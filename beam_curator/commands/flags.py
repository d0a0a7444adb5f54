"""Every flag once: what the command line takes, with its help, and the checks that need nothing but the flags.

Nothing heavy is imported here, so that `--help` and slips are answered at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import importlib.util
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from beam_curator.commands.duplicate_flags import add_duplicates
from beam_curator.commands.preset_flag import preset_names, with_preset
from beam_curator.defaults import (
    AUTO,
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
from beam_curator.errors import UsageError
from beam_curator.models.encoders.settings import SETTINGS
from beam_curator.reading import DEFAULT_READING, SEVERAL_IMAGES, sources
from beam_curator.sources.patterns import at_home

PROGRAM = "beam-curator"
DRY_RUN = "--dry_run"
PREVIEW = "--preview"
LOCAL_RUNNERS = (None, "DirectRunner", "BundleBasedDirectRunner", "FnApiRunner")


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, like all others."""

    def error(self, message: str) -> NoReturn:
        """Raises UsageError with what is wrong."""
        raise UsageError(f"{message} (see --help)")


def curation_parser(program: str, description: str) -> Parser:
    """A parser of all flags of the main job."""
    parser = Parser(
        prog=program,
        description=description,
        epilog="Every flag of Beam works as well, such as --runner, --direct_num_workers, --project, --region.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    # Not one of CurationOptions: Beam's testing options have a --dry_run of another kind, which takes a value.
    parser.add_argument(
        DRY_RUN,
        action="store_true",
        help="read no images: print shards, ranges, what is scored already, and models, and stop",
    )
    parser.add_argument(
        PREVIEW,
        action="store_true",
        help="write nothing: print what the flags would select of what is scored already, by each rule in order and "
        "alone, and what would move beside the selection that stands; and stop",
    )
    add_flags(parser)
    return parser


def check(argv: Sequence[str], description: str) -> None:
    """What can be said of arguments of the main job without Beam, which takes seconds to import.

    Raises:
      UsageError: for a value that is none, a flag that looks like a slip in one of ours, or no --input or --output.
      SystemExit: after --help.
    """
    parser = curation_parser(f"{PROGRAM} curate", description)
    flags, others = parser.parse_known_args(with_preset(argv))
    refuse_slips(parser, others)
    require(flags, "input", "output")


def refuse_slips(parser: Parser, others: Sequence[str]) -> None:
    """Raises UsageError for a flag that looks like a slip in one of this parser's, unless it is one of Beam's."""
    beams = _text_of_beams_options()
    for flag in (text.split("=")[0] for text in others if text.startswith("--")):
        near = difflib.get_close_matches(flag, parser._option_string_actions, n=1, cutoff=0.8)
        if near and flag not in beams:
            raise UsageError(f"unknown argument {flag}: did you mean {near[0]}?")


def _text_of_beams_options() -> str:
    """The source of Beam's own flags: read, since importing it takes seconds."""
    found = importlib.util.find_spec("apache_beam")
    if found is None or found.origin is None:
        return ""
    return Path(found.origin).with_name("options").joinpath("pipeline_options.py").read_text(encoding="utf-8")


def require(flags: Any, *names: str) -> None:
    """Raises UsageError for the first of these flags that is not given."""
    for name in names:
        if not getattr(flags, name):
            raise UsageError(f"--{name} is missing (see --help)")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of the main job, in groups."""
    _add_input_and_output(parser.add_argument_group("input and output"))
    _add_samples(parser.add_argument_group("samples"))
    _add_models(parser.add_argument_group("models"))
    _add_selection(parser.add_argument_group("selection (new values need no GPU: scores are kept)"))
    add_duplicates(parser.add_argument_group("duplicates (new values need no GPU, either)"))
    _add_running(parser.add_argument_group("running elsewhere"))


def _positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def _batch_size(text: str) -> int | str:
    return text if text == AUTO else _positive_int(text)


def _not_negative_int(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value


def _positive_float(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number")
    return value


def _finite_float_or_none(text: str) -> float | str:
    return NO_LIMIT if text.lower() == NO_LIMIT else _finite_float(text)


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def _ratio(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number")
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return value


def _true_or_false(text: str) -> bool:
    """The value of a switch, for launchers that give every flag one."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text} is neither true nor false")
    return text.lower() == "true"


_SWITCH: dict[str, Any] = {
    "type": _true_or_false,
    "nargs": "?",
    "const": True,
    "default": False,
    "metavar": "true|false",
}


def _accelerator(text: str) -> str:
    fields = dict(field.partition(":")[::2] for field in text.split(";"))
    if not fields.get("type") or not fields.get("count", "").isdigit():
        raise argparse.ArgumentTypeError(f"{text} is not like type:nvidia-l4;count:1;install-nvidia-driver")
    return text


def _min_ram(text: str) -> str:
    from apache_beam.transforms.resources import parse_resource_hints

    try:
        parse_resource_hints({"min_ram": text})
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not like 30GB") from None
    return text


class _Joined(argparse._AppendAction):
    """Appends words that follow each other, as one text."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        super().__call__(parser, namespace, " ".join(values), option_string)


def _add_input_and_output(group: Any) -> None:
    group.add_argument(
        "--input",
        action="append",
        metavar="SHARDS",
        help="tar shards: a path, glob (** is any depth), directory or brace range such as {00000..00099}.tar; local, "
        "gs:// or s3://; or @FILE with one on each line; may be given again",
    )
    group.add_argument(
        "--allow_missing",
        **_SWITCH,
        help="go on without what --input names that is not there or cannot be read; the manifest lists it",
    )
    group.add_argument("--output", type=at_home, metavar="DIR", help="output directory; local, gs:// or s3://")
    group.add_argument(
        "--samples_per_shard",
        type=_positive_int,
        default=DEFAULT_SAMPLES_PER_SHARD,
        metavar="N",
        help="samples in every output shard but the last (default: %(default)s)",
    )
    group.add_argument(
        "--range_mb",
        type=_positive_float,
        metavar="MIB",
        help="about how much of a shard is one unit of work, in MiB; a directory keeps the one that it was begun with "
        f"(default: {DEFAULT_RANGE_MB})",
    )
    group.add_argument(
        "--overwrite",
        **_SWITCH,
        help="remove what a job left in the output directory, its scores too, which a model computed, and begin anew",
    )
    group.add_argument(
        "--fewer_shards",
        **_SWITCH,
        help="let --input leave out shards that the output directory has and that are still there: they leave the "
        "selection, and their scores are kept",
    )
    group.add_argument(
        "--take_over",
        **_SWITCH,
        help="take the output directory from a job that holds it and is gone; if it is alive after all, it fails",
    )


def _add_samples(group: Any) -> None:
    group.add_argument(
        "--group_by_key",
        **_SWITCH,
        help="join all members of a shard that share a key, wherever they stand; without it only those that follow "
        "each other, as WebDataset does",
    )
    group.add_argument(
        "--several_images",
        choices=SEVERAL_IMAGES,
        default=DEFAULT_READING.several_images,
        help="what becomes of a sample with several images: it fails, its first one is scored, or all are scored and "
        "the worst score decides (default: %(default)s)",
    )
    group.add_argument(
        "--image_from",
        type=_sources("image_from"),
        metavar="EXTENSIONS",
        help="the member that is the image, such as jpg or left.png; of several with commas between them, the first "
        "that a sample has (default: its only image)",
    )
    group.add_argument(
        "--caption_from",
        type=_sources("caption_from"),
        metavar="SOURCES",
        help="where the caption is: a member such as txt, or a field of a JSON member as json:caption; of several with "
        f"commas between them, the first that is not empty (default: {','.join(TEXT_MEMBERS)}, then fields of json "
        "such as caption and text)",
    )


def _sources(name: str) -> Callable[[str], str]:
    def checked(text: str) -> str:
        try:
            return ",".join(sources(name, text))
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return checked


def _add_models(group: Any) -> None:
    group.add_argument(
        "--model_dir", type=at_home, metavar="DIR", help="where weights are looked for first; local, gs:// or s3://"
    )
    group.add_argument(
        "--encoder",
        "--clip_model",
        dest="clip_model",
        default=DEFAULT_MODEL,
        metavar="NAME",
        help="what embeds the images: an open_clip architecture, timm:NAME for a model of timm such as DINOv2, "
        "package.module:Object for an encoder of your own, with arguments as those of --scorer, or "
        f"{TINY_UNTRAINED} for trying things out without weights: "
        "its scores mean nothing (default: %(default)s)",
    )
    group.add_argument(
        "--clip_pretrained",
        type=at_home,
        default=DEFAULT_PRETRAINED,
        metavar="TAG",
        help="the encoder's weights: an open_clip tag, or the path of a checkpoint, local or in a bucket; a tag of "
        "timm is a part of the encoder's name (default: %(default)s)",
    )
    group.add_argument(
        "--aesthetic_model",
        type=at_home,
        metavar="NAME",
        help=f"v2, v1, {UNTRAINED}, {NO_MODEL}, or a path (default: v2; {UNTRAINED} with --clip_model "
        f"{TINY_UNTRAINED})",
    )
    group.add_argument(
        "--nsfw_model",
        type=at_home,
        metavar="NAME",
        help=f"laion, {UNTRAINED}, {NO_MODEL}, or a path (default: laion; {UNTRAINED} with --clip_model "
        f"{TINY_UNTRAINED})",
    )
    group.add_argument(
        "--prompt",
        action="append",
        metavar="PROMPT",
        help="a score from text, such as 'watermark=a photo with a watermark|a clean photo': the column watermark is "
        "the probability of the first text among them, by the encoder's own text half; may be given again",
    )
    group.add_argument(
        "--similarity",
        **_SWITCH,
        help="score how well a caption tells its image, as the column similarity: the cosine of both embeddings, "
        "by the encoder's own text half",
    )
    group.add_argument(
        "--image_measures",
        **_SWITCH,
        help="measure brightness, contrast, blur, entropy and greyscale of each picture, as columns for rules",
    )
    group.add_argument(
        "--caption_measures",
        **_SWITCH,
        help="count words and characters of each caption and tell its language, as columns for rules; needs the extra "
        "beam-curator[language]",
    )
    group.add_argument(
        "--scorer",
        action="append",
        metavar="SCORER",
        help="a scorer of your own, or of an installed package: NAME or package.module:Object, with arguments as "
        "(side=64), key=value or JSON; its columns may be used by rules; may be given again",
    )
    group.add_argument(
        "--accept_other_encoder",
        **_SWITCH,
        help="let the published heads score the embeddings of another encoder than OpenAI's CLIP ViT-L/14, which they "
        "were made for: such scores may mean nothing, and are marked so wherever they show",
    )
    for setting in SETTINGS:
        _add_setting(group, setting)


def _add_setting(group: Any, setting: dataclasses.Field[Any]) -> None:
    """The flag of one of the encoder's settings."""
    flag, told, choices, least = f"--{setting.name}", *map(setting.metadata.get, ("help", "choices", "least"))
    if isinstance(setting.default, bool):
        group.add_argument(flag, **_SWITCH, help=told)
        return
    told = f"{told} (default: %(default)s)"
    if least is None:
        group.add_argument(flag, choices=choices, default=setting.default, help=told)
        return
    number = _batch_size if choices else _positive_int if least else _not_negative_int
    group.add_argument(flag, type=number, default=setting.default, metavar="N", help=told)


def _add_selection(group: Any) -> None:
    group.add_argument(
        "--preset",
        choices=preset_names(),
        help="a selection of the field under one name: stands for flags, which are told before the work begins; flags "
        "beside it win, or are added",
    )
    group.add_argument(
        "--min_aesthetic",
        type=_finite_float_or_none,
        metavar="SCORE",
        help=f"keep images that score at least this, about 0 to 10; {NO_LIMIT} for no such rule (default: "
        f"{DEFAULT_MIN_AESTHETIC}, where there is such a score)",
    )
    group.add_argument(
        "--max_nsfw",
        type=_finite_float_or_none,
        metavar="SCORE",
        help=f"keep images that score below this, 0 to 1; {NO_LIMIT} for no such rule (default: "
        f"{DEFAULT_MAX_NSFW}, where there is such a score)",
    )
    group.add_argument(
        "--min_width",
        type=_not_negative_int,
        default=0,
        metavar="PIXELS",
        help="keep images at least this wide",
    )
    group.add_argument(
        "--min_height",
        type=_not_negative_int,
        default=0,
        metavar="PIXELS",
        help="keep images at least this high",
    )
    group.add_argument(
        "--max_aspect_ratio",
        type=_ratio,
        metavar="RATIO",
        help="keep images whose longer side is at most this many times the shorter one",
    )
    group.add_argument(
        "--where",
        action="append",
        metavar="CONDITION",
        help='keep samples that a condition in SQL is true of, such as "aesthetic >= 5 OR width > 900": '
        "on the ledger's columns, scores among them; tried after the thresholds and before --rule; may be given again",
    )
    for flag, which in (("--allow", "only samples in a list"), ("--block", "no sample of a list")):
        group.add_argument(
            flag,
            action="append",
            metavar="FILE",
            help=f"of the samples that pass all rules, keep {which} of uids, keys, sha256 or phash: Parquet, CSV, text "
            "or npy, of any length; COLUMN=FILE where the file does not say which; may be given again",
        )
    group.add_argument(
        "--keep_top",
        action="append",
        metavar="COLUMN=FRACTION",
        help="of the samples that pass all rules, keep the best fraction by a column, such as similarity=0.3, as "
        "DataComp does; may be given again, for another column, on what is left",
    )
    group.add_argument(
        "--keep_best",
        action=_Joined,
        nargs="+",
        metavar=("N", "COLUMN"),
        help="of the samples that are left, keep the best N by a column, such as 1000000 aesthetic (and those that are "
        "equal to the last of them); may be given again",
    )
    group.add_argument(
        "--rule",
        action="append",
        metavar="RULE",
        help="a rule of your own: [NAME=]package.module:object[(VALUES)], such as 'my_rules:longer_than(words=4)'; "
        "called with a sample's row, true keeps it; NAME is its reason in the ledger; may be given again",
    )
    group.add_argument(
        "--max_failed_fraction",
        type=_fraction,
        default=1.0,
        metavar="FRACTION",
        help="fail the job when more than this fraction of the samples cannot be used; a broken shard counts as about "
        "as many as its unread bytes would hold, at least one; a job in which every sample failed always fails "
        "(default: %(default)s)",
    )


def _add_running(group: Any) -> None:
    group.add_argument(
        "--scoring_accelerator",
        type=_accelerator,
        metavar="HINT",
        help="an accelerator for scoring alone, as a resource hint that the runner understands; on Dataflow such as "
        "type:nvidia-l4;count:1;install-nvidia-driver",
    )
    group.add_argument(
        "--scoring_min_ram",
        type=_min_ram,
        metavar="SIZE",
        help="memory that workers need for scoring, as a resource hint, such as 30GB",
    )
    group.add_argument(
        "--no_wait",
        **_SWITCH,
        help="on Dataflow: submit the job, and do not wait for its end",
    )
