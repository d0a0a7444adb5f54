"""The flags of the main job as Beam's options, and what is made of them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from beam_curator.commands.flags import add_flags
from beam_curator.reading import Reading, carried, sources


class CurationOptions(PipelineOptions):
    """The flags of the main job; every flag of Beam and of its runners works beside them."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        add_flags(parser)


def reading_of(options: CurationOptions) -> Reading:
    """Reads from the flags how shards are read."""
    return Reading(
        options.group_by_key,
        options.several_images,
        sources("image_from", options.image_from),
        sources("caption_from", options.caption_from),
        carried(options.carry),
        options.image_column or "",
        options.caption_column or "",
    )


_NOT_RECORDED = (
    "output",
    "overwrite",
    "fewer_shards",
    "take_over",
    "report",
    "scoring_accelerator",
    "scoring_min_ram",
    "no_wait",
)
"""The flags that shape no output: where and how the job runs."""


def flags_of(options: CurationOptions) -> Mapping[str, Any]:
    """Gives our flags and their values as the manifest records them: what is said in any order, in one."""
    parser = argparse.ArgumentParser()
    CurationOptions._add_argparse_args(parser)
    names: Sequence[str] = [action.dest for action in parser._actions if action.dest != "help"]
    flags = {name: getattr(options, name) for name in names if name not in _NOT_RECORDED}
    return {**flags, "input": sorted(set(options.input or ()))}
