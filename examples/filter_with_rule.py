"""Composes the transforms by hand, with a rule of its own: keeps images whose caption says something.

    python -m examples.filter_with_rule --input 'raw/*.tar' --output curated --min_aesthetic 5.0

The same rule works with the main job: `--rule examples.filter_with_rule:caption_says_something`.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import beam_curator as bc
from beam_curator.commands import parsing, running
from beam_curator.commands.options import reading_of
from beam_curator.commands.scorers_of_flags import clip_handler
from beam_curator.commands.steps_of_flags import resolve_defaults
from beam_curator.output.job_input import match_shards
from beam_curator.sources.no_samples import refuse_what_holds_none

MIN_WORDS = 4


def caption_says_something(row: Mapping[str, Any]) -> bool:
    """True for captions of at least four different words."""
    return len(set((row["caption"] or "").lower().split())) >= MIN_WORDS


def run(argv: Sequence[str]) -> int:
    """Parses, checks and runs; gives the exit code."""
    options, flags = parsing.parse_simple("filter_with_rule", __doc__ or "", argv)
    resolve_defaults(flags)
    embed = bc.EmbedImages(clip_handler(flags))
    score = bc.ScoreAesthetic(flags.aesthetic_model, flags.model_dir, accept_other_encoder=flags.accept_other_encoder)
    shards = match_shards(flags.input, flags.allow_missing)
    refuse_what_holds_none(shards)
    running.run_pipeline(
        options,
        lambda pipeline: (
            pipeline
            | bc.ReadSamples(flags.input, flags.range_mb, flags.allow_missing, **dataclasses.asdict(reading_of(flags)))
            | embed
            | score
            | bc.Select(bc.AtLeast("aesthetic", flags.min_aesthetic), caption_says_something)
            | bc.WriteShards(flags.output, flags.samples_per_shard)
        ),
        sum(shard.size_bytes for shard in shards),
        flags.output,
    )
    print(f"done: see {flags.output}/manifest.json")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit code 0, 1 for a failed job, 2 for bad usage."""
    return running.exit_code("filter_with_rule", run, argv)


if __name__ == "__main__":
    sys.exit(main())
