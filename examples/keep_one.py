"""Finds near copies among things that have vectors of any kind, and says which of each group goes, and why.

    python -m examples.embed_images --input 'raw/*.tar' --output embedded --clip_model tiny-untrained
    python -m examples.keep_one --vectors 'embedded/scores/*.parquet' --rank bytes --output gone

`--vectors` are Parquet files with an id, a vector and a number in each row; of two that are alike, the one with the
larger number stays. OUT-*.jsonl has a line for each thing that goes: its id, the id of what stays in its place, and the
cosine of their vectors. Whatever has no line stays, and no two that stay are as near.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

import apache_beam as beam
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions

import beam_curator as bc
from beam_curator.commands import parsing, running
from beam_curator.errors import UsageError
from beam_curator.sources import matching
from beam_curator.storage import files


def run(argv: Sequence[str]) -> int:
    """Parses, checks and runs; gives the exit code."""
    parser = parsing.Parser(prog="keep_one", description=__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--vectors", required=True, metavar="GLOB", help="Parquet files")
    parser.add_argument("--id", default="sample_id", metavar="COLUMN", help="of texts, each there once")
    parser.add_argument("--vector", default="embedding", metavar="COLUMN", help="of lists of numbers, or null")
    parser.add_argument("--rank", required=True, metavar="COLUMN", help="of numbers: the largest stays")
    parser.add_argument("--cosine", type=float, default=0.97, help="the least one of two that are alike")
    parser.add_argument("--output", required=True, metavar="PREFIX", help="prefix of the files to write")
    flags, others = parser.parse_known_args(list(argv))
    options = PipelineOptions(others)
    files.use_options(options)
    if not matching.match_files([flags.vectors]):
        raise UsageError(f"--vectors {flags.vectors}: there is no such file")
    find = bc.FindDuplicates(cosine=flags.cosine)

    def build(pipeline: beam.Pipeline) -> None:
        rows = (
            pipeline
            | beam.io.ReadFromParquet(flags.vectors, columns=[flags.id, flags.vector, flags.rank])
            | beam.Filter(lambda row: row[flags.vector] is not None)
        )
        pairs = rows | "Vectors" >> beam.Map(lambda row: (row[flags.id], np.array(row[flags.vector]))) | find
        ranks = rows | "Ranks" >> beam.Map(lambda row: (row[flags.id], -row[flags.rank]))  # the lowest stays
        gone = ranks | bc.KeepOne(pairs) | beam.Map(lambda drop: json.dumps(drop._asdict()))
        gone | beam.io.WriteToText(flags.output, file_name_suffix=".jsonl")

    running.run_pipeline(options, build, 0, flags.output)
    print(f"done: see {flags.output}-*.jsonl")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit code 0, 1 for a failed job, 2 for bad usage."""
    return running.exit_code("keep_one", run, argv)


if __name__ == "__main__":
    sys.exit(main())
