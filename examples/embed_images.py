"""Embeds, and does no more: WebDataset shards in, Parquet files with image facts and CLIP embeddings out.

    python -m examples.embed_images --input 'raw/*.tar' --output embedded

OUT/scores/ has one Parquet file per range of a shard, with a row per sample; `embedding` is a list of float32.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence

import beam_curator as bc
from beam_curator.commands import parsing, running
from beam_curator.commands.options import reading_of
from beam_curator.commands.scorers_of_flags import clip_handler
from beam_curator.errors import JobError
from beam_curator.first_few import counted
from beam_curator.output.job_input import match_shards
from beam_curator.sources.no_samples import no_sample, refuse_what_holds_none
from beam_curator.transforms.checkpointing import WriteScores


def run(argv: Sequence[str]) -> int:
    """Parses, checks and runs; gives the exit code."""
    options, flags = parsing.parse_simple("embed_images", __doc__ or "", argv)
    handler = clip_handler(flags)
    shards = match_shards(flags.input, flags.allow_missing)
    refuse_what_holds_none(shards)
    result = running.run_pipeline(
        options,
        lambda pipeline: (
            pipeline
            | bc.ReadSamples(flags.input, flags.range_mb, flags.allow_missing, **dataclasses.asdict(reading_of(flags)))
            | bc.EmbedImages(handler)
            | WriteScores(flags.output)
        ),
        sum(shard.size_bytes for shard in shards),
        flags.output,
    )
    embedded = running.counter(result, "samples_scored")
    if not embedded and parsing.is_local(options):  # other runners may give no counters
        raise no_sample(shards)
    if embedded and running.counter(result, "samples_failed") == embedded:
        raise JobError(f"not one sample could be used: all {embedded:,} failed, {flags.output}/scores says why of each")
    print(f"embedded {counted(embedded, 'sample')} into {flags.output}/scores")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit code 0, 1 for a failed job, 2 for bad usage."""
    return running.exit_code("embed_images", run, argv)


if __name__ == "__main__":
    sys.exit(main())
