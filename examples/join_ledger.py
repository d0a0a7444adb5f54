"""Joins the ledger of a finished job with records of your own, by the samples' keys.

    python -m examples.join_ledger --ledger curated/samples --records licences.csv --output joined

`--records` is a CSV file whose column `key` holds samples' keys. OUT-*.jsonl has a line for every sample of the
ledger: its key, what became of it, its scores, and the record (null where there is none).
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from beam_curator.commands import parsing, running
from beam_curator.errors import UsageError
from beam_curator.sources import matching
from beam_curator.storage import files, urls

Joined = tuple[str, Mapping[str, Sequence[Mapping[str, Any]]]]


def read_records(url: str) -> list[dict[str, str]]:
    """The rows of a CSV file with a column `key`.

    Raises:
      UsageError: when the file has no such column.
    """
    records = list(csv.DictReader(io.StringIO(files.read_bytes(url).decode())))
    if not records or "key" not in records[0]:
        raise UsageError(f"--records {url}: wants a CSV file with rows and a column named key")
    return records


def join_lines(joined: Joined) -> Iterator[str]:
    """A line of JSON for each sample of a key."""
    key, both = joined
    record = next(iter(both["records"]), None)
    for row in both["ledger"]:
        kept = {name: row[name] for name in ("shard", "status", "reason", "aesthetic", "nsfw") if name in row}
        yield json.dumps({"key": key, **kept, "record": record}, sort_keys=True)


def run(argv: Sequence[str]) -> int:
    """Parses, checks and runs; gives the exit code."""
    parser = parsing.Parser(prog="join_ledger", description=__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--ledger", required=True, metavar="DIR", help="samples/ of a finished job")
    parser.add_argument("--records", required=True, metavar="CSV", help="records with a column named key")
    parser.add_argument("--output", required=True, metavar="PREFIX", help="prefix of the files to write")
    flags, others = parser.parse_known_args(list(argv))
    options = PipelineOptions(others)
    files.use_options(options)
    parts = urls.join(flags.ledger, "*.parquet")
    if not matching.match_files([parts]):
        raise UsageError(f"--ledger {flags.ledger}: there is no Parquet file in it")
    records = read_records(flags.records)

    def build(pipeline: beam.Pipeline) -> None:
        ledger = pipeline | beam.io.ReadFromParquet(parts) | beam.Map(lambda row: (row["key"], row))
        own = pipeline | beam.Create(records) | "KeyRecords" >> beam.Map(lambda record: (record["key"], record))
        joined = {"ledger": ledger, "records": own} | beam.CoGroupByKey() | beam.FlatMap(join_lines)
        joined | beam.io.WriteToText(flags.output, file_name_suffix=".jsonl")

    running.run_pipeline(options, build, 0, flags.output)
    print(f"joined: see {flags.output}-*.jsonl")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit code 0, 1 for a failed job, 2 for bad usage."""
    return running.exit_code("join_ledger", run, argv)


if __name__ == "__main__":
    sys.exit(main())
