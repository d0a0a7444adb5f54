"""Does what `beam-curator models` is for, once its flags are read: fetches all weights ahead of time, and verifies
them.

Run it where there is a network (to build an image, to fill a bucket), and give the same --model_dir to the job.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Sequence

from beam_curator.commands import parsing
from beam_curator.commands.flags import PROGRAM
from beam_curator.commands.plain_flags import models_parser
from beam_curator.errors import CurationError, UsageError
from beam_curator.models.weights import nsfw_weights, published, transfer
from beam_curator.models.weights.resolving import published_weights
from beam_curator.storage import urls


def main(argv: Sequence[str] | None = None) -> int:
    """Fetches and verifies every file; returns 0, or 1 if one could not be had, or 2 for a wrong argument."""
    try:
        arguments, others = models_parser().parse_known_args(argv)
        parsing.use_storage_flags(others)
        model_dir = urls.absolute(arguments.model_dir)
        _make_directory(model_dir)
        wanted: list[published.FetchableWeights] = [
            published_weights(arguments.clip_model, arguments.clip_pretrained),
            published.AESTHETIC_V2,
            published.AESTHETIC_V1,
            nsfw_weights.NSFW_LAION,
        ]
    except UsageError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    brought = [_bring(one, model_dir) for one in wanted]
    return 0 if all(brought) else 1


def _make_directory(model_dir: str) -> None:
    if urls.is_remote(model_dir):
        return  # A bucket's folders come to be with their files.
    try:
        pathlib.Path(model_dir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--model_dir {model_dir}: {error.strerror}") from error


def _bring(wanted: published.FetchableWeights, model_dir: str) -> bool:
    try:
        found, how = wanted.find(model_dir), "present"
        if found is None:
            found, how = wanted.fetch(model_dir), "fetched"
        size_bytes = transfer.size_of(found.path)
    except CurationError as error:
        print(f"failed   {wanted.filename}: {error}", file=sys.stderr)
        return False
    print(f"{how}, verified  {found.path}  {size_bytes} bytes  sha256 {found.sha256}", flush=True)
    return True
