"""Flags of `beam-curator export`. Nothing heavy is imported here, as in `flags`."""

from __future__ import annotations

import argparse
import difflib

from beam_curator.commands.flag_types import positive_int
from beam_curator.commands.flags import PROGRAM, Parser
from beam_curator.errors import UsageError

EMBEDDINGS, DATACOMP_UIDS = "embeddings", "datacomp-uids"
ROWS_PER_FILE = 1_000_000

_EXPORT = f"""Writes what a finished job kept in forms that other tools read:

    beam-curator export embeddings OUT --output vectors      for search: clip-retrieval, autofaiss, faiss, lance
    beam-curator export datacomp-uids OUT --output subset.npy   for DataComp's resharder

{PROGRAM} export {EMBEDDINGS} --help and {PROGRAM} export {DATACOMP_UIDS} --help list their flags.
"""

_ABOUT_EMBEDDINGS = """Writes the embeddings of all kept samples, with their rows, in the order of the output shards.
One range of the input is in memory at a time, whatever the size of the output.

  npy      img_emb/img_emb_0.npy (float16 [n, dim]) and metadata/metadata_0.parquet, as clip-retrieval has them:
           autofaiss, embedding-reader, faiss and usearch read them, and clip-retrieval index
  parquet  embeddings_0.parquet: the rows with `embedding`, a list of float32
  lance    embeddings.lance with `vector`, for LanceDB (pip install 'beam-curator[lance]')

Of a job with --keep_text_embeddings those of captions stand beside them: text_emb/text_emb_0.npy (zeros where a sample
has no caption), `text_embedding` or `text_vector` (null there).

Rows are those beside the tars: `key` is the sample's key in its tar, `sample_id` its identity; `image_path` (the key)
and `url` (that of the samples' .json) are what clip-retrieval looks for.
"""

_ABOUT_UIDS = """Writes the uids of all kept samples, which DataComp's downloads have in their .json, as a sorted NumPy
array of u8,u8: what DataComp's resharder and its baselines take as a subset.

    python resharder.py -i downloads -o subset -s subset.npy
"""

_EPILOG = "Beam's flags for buckets work as well, such as --s3_endpoint_url."


def export_parser(what: str) -> Parser:
    """A parser of the flags of an export.

    Args:
      what: one of the exports; with a flag, such as --help, the parser is that of the command as a whole.

    Raises:
      UsageError: for anything else.
    """
    if what == EMBEDDINGS:
        return _of_embeddings()
    if what == DATACOMP_UIDS:
        return _of_uids()
    if what in ("-h", "--help"):
        return _made("", _EXPORT)
    known = f"{EMBEDDINGS}, {DATACOMP_UIDS}"
    if not what or what.startswith("-"):
        raise UsageError(f"export: say what to export: {known} (see --help)")
    near = difflib.get_close_matches(what, (EMBEDDINGS, DATACOMP_UIDS), n=1)
    raise UsageError(f"export: no export {what}{f': did you mean {near[0]}?' if near else f': there are {known}'}")


def _made(what: str, about: str) -> Parser:
    return Parser(
        prog=f"{PROGRAM} export {what}".rstrip(),
        description=about,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _of_embeddings() -> Parser:
    made = _made(EMBEDDINGS, _ABOUT_EMBEDDINGS)
    _add_out(made)
    made.add_argument("--output", required=True, metavar="DIR", help="a new directory; local, gs:// or s3://")
    made.add_argument(
        "--format", choices=("npy", "parquet", "lance"), default="npy", help="one of the above (default: %(default)s)"
    )
    made.add_argument(
        "--rows_per_file",
        type=positive_int,
        metavar="N",
        help=f"samples in each file of npy and parquet (default: {ROWS_PER_FILE})",
    )
    return made


def _of_uids() -> Parser:
    made = _made(DATACOMP_UIDS, _ABOUT_UIDS)
    _add_out(made)
    made.add_argument("--output", required=True, metavar="FILE", help="the .npy to write; local, gs:// or s3://")
    return made


def _add_out(parser: Parser) -> None:
    parser.add_argument("out", metavar="OUT", help="output directory of a finished job; local, gs:// or s3://")
