"""The flags of the input, the output and samples. Nothing heavy is imported here, as in `flags`."""

from __future__ import annotations

import argparse

from beam_curator.commands.flag_types import (
    SWITCH,
    carried_fields,
    input_format,
    member_sources,
    positive_float,
    positive_int,
    ranges_per_file,
)
from beam_curator.defaults import DEFAULT_RANGE_MB, DEFAULT_SAMPLES_PER_SHARD, TEXT_MEMBERS
from beam_curator.field_names import ALL, NONE
from beam_curator.given_paths import at_home
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
