"""Runs one phase of a job over very many ranges, without images: for `benchmarks.scale`, in a process of its own.

python -m benchmarks.scale_phases places --ranges 100000 [flags of Beam]
"""

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_curator import process_tuning, rows
from beam_curator.commands.input_in_pieces import hand_over_in_pieces
from beam_curator.identities import ModelIdentity
from beam_curator.output.job_file import JOB, Job, Remembered, standing_job
from beam_curator.output.job_input import Matched, describe_input, match_input, urls_and_sizes
from beam_curator.output.lease import Claim
from beam_curator.output.ledger import LedgerPart, ledger_name, name_of_many, ranges_per_file
from beam_curator.output.outcomes import Summary
from beam_curator.output.output_shard import WrittenShard
from beam_curator.output.ownership import claim_output, notes_before
from beam_curator.output.prefix_sums import Place
from beam_curator.output.score_steps import EMBEDDING_STEP
from beam_curator.reading import DEFAULT_READING
from beam_curator.rule_tally import RuleTally
from beam_curator.samples import Sample, SampleBatch, Shard, ShardRange
from beam_curator.transforms.claims import Title
from beam_curator.transforms.range_places import PlacesInHand, places_aside
from beam_curator.transforms.spilling import Spillable, spilled_to_disk
from beam_curator.transforms.strays import strays_removed
from beam_curator.transforms.totals import SumLedger, SumSummaries, SumWritten
from beam_curator.transforms.writing import WriteShards
from benchmarks.simulated_bucket import ROOT, Listing, SimulatedBucket, stand_in

RANGES_PER_SHARD, SAMPLES_PER_RANGE, SAMPLES_PER_SHARD = 10, 650, 1000
_WAITING_BYTES = 300
_SOWN = 10_000
"""So many ranges are made of one element of the pipeline."""

_ENCODER = ModelIdentity("ViT-L-14-quickgelu/openai", "0" * 64, precision="bf16", member="clip")
_MODELS = {EMBEDDING_STEP: _ENCODER, "aesthetic": ModelIdentity("v2", "1" * 64), "nsfw": ModelIdentity("b32", "2" * 64)}


def _shard(number: int) -> Shard:
    return Shard(f"{ROOT}/raw/{number:08d}.tar", RANGES_PER_SHARD << 26, f"crc32c:{number}")


def _range(number: int) -> ShardRange:
    shard, ordinal = divmod(number, RANGES_PER_SHARD)
    start = ordinal << 26
    return ShardRange(_shard(shard), start, start + (1 << 26), ordinal, ordinal == RANGES_PER_SHARD - 1)


def _kept(number: int) -> int:
    return number * 7919 % (SAMPLES_PER_RANGE + 1)


def _numbers(pipeline: beam.Pipeline, count: int) -> beam.PCollection[int]:
    def sow(first: int) -> Iterator[int]:
        yield from range(first, min(first + _SOWN, count))

    seeds = pipeline | "Seeds" >> beam.Create(range(0, count, _SOWN))
    return seeds | "Spread" >> beam.Reshuffle() | "Numbers" >> beam.FlatMap(sow).with_output_types(int)


class _Ask(beam.DoFn):
    """Asks for the place of each range, as the step that places samples does."""

    def start_bundle(self) -> None:
        self._places = PlacesInHand()

    def process(self, number: int, *places: Any) -> Iterator[tuple[int, int]]:
        found: Place = self._places.of((_range(number).url, _range(number).start), *places)
        yield found.ranges - number, found.kept


def places(pipeline: beam.Pipeline, count: int) -> None:
    """Prefix sums, and the place of each range asked for."""
    numbers = _numbers(pipeline, count)
    counts = numbers | "Count" >> beam.Map(lambda n: ((_range(n).url, _range(n).start), _kept(n))).with_output_types(
        tuple[tuple[str, int], int]
    )
    asked = numbers | "Ask" >> beam.ParDo(_Ask(), *places_aside(counts))
    total = asked | "Kept" >> beam.Map(lambda one: one[1]) | "Sum" >> beam.CombineGlobally(sum)
    asked | "Wrong" >> beam.Filter(lambda one: one[0] != 0) | "None" >> beam.Map(_fail)
    kept = np.arange(count, dtype=np.int64) * 7919 % (SAMPLES_PER_RANGE + 1)
    total | "Check" >> beam.Map(_expect, int((np.cumsum(kept) - kept).sum()))


def _fail(one: Any) -> None:
    raise AssertionError(f"a range is at another place than it should be: {one}")


def _expect(found: Any, due: Any) -> None:
    if found != due:
        raise AssertionError(f"{found}, should be {due}")


def waiting(pipeline: beam.Pipeline, count: int) -> None:
    """Elements that wait for the sum of all, as each range's rows wait for the counts: what the runner holds of
    each."""
    numbers = _numbers(pipeline, count)
    rows_of_one = numbers | "Rows" >> beam.Map(lambda _: Spillable(bytes(_WAITING_BYTES))).with_output_types(Spillable)
    ones = rows_of_one | "One" >> beam.Map(lambda _: 1).with_output_types(int)
    total = beam.pvalue.AsSingleton(ones | "Total" >> beam.CombineGlobally(sum))
    fetched = rows_of_one | "Fetch" >> beam.Map(lambda one, _: len(one.value), total).with_output_types(int)
    fetched | "Sum" >> beam.CombineGlobally(sum) | "Check" >> beam.Map(_expect, count * _WAITING_BYTES)


def _summary(number: int) -> Summary:
    kept = _kept(number)
    summary = Summary(SAMPLES_PER_RANGE, kept, judged={"aesthetic < 5": RuleTally(SAMPLES_PER_RANGE, dropped=1)})
    summary.dropped_by["aesthetic < 5"] = SAMPLES_PER_RANGE - kept
    return summary


def _recount(number: int) -> Summary:
    summary = _summary(number)
    return Summary(summary.seen, summary.kept, summary.dropped_by)


def totals(pipeline: beam.Pipeline, count: int) -> None:
    """Counts of all ranges, what the ledger holds, and what all output shards do."""
    numbers = _numbers(pipeline, count)
    seen = numbers | "Summarize" >> beam.Map(_summary).with_output_types(Summary)
    parts = numbers | "Part" >> beam.Map(lambda n: LedgerPart(_recount(n), _MODELS)).with_output_types(LedgerPart)
    shards = numbers | "Shard" >> beam.Map(_written).with_output_types(WrittenShard)
    (
        seen
        | "Seen" >> beam.CombineGlobally(SumSummaries())
        | "Check" >> beam.Map(lambda total: _expect(total.seen, count * SAMPLES_PER_RANGE))
    )
    parts | "Ledger" >> beam.CombineGlobally(SumLedger())
    shards | "Written" >> beam.CombineGlobally(SumWritten())


def _written(number: int) -> WrittenShard:
    return WrittenShard(number, SAMPLES_PER_SHARD, 1 << 27, {"jpg": SAMPLES_PER_SHARD, "txt": 990})


class _Unclaimed(Title):
    """A title to a directory that nobody else is after."""

    def enter(self) -> None:
        pass

    def leave(self) -> None:
        pass

    def confirm(self) -> Any:
        return None


def strays(pipeline: beam.Pipeline, count: int) -> SimulatedBucket:
    """Names of what belongs beside names of what stands in three directories: nothing is to be removed. Gives where
    they stand."""
    shards = -(-count // RANGES_PER_SHARD)
    of_ranges = Listing(count, lambda number: f"{_range(number).name}.parquet")
    output, per_file = f"{ROOT}/out", ranges_per_file(count)
    bucket = SimulatedBucket({f"{output}/{name}": of_ranges for name in ("fields", "scores")})
    of_many = Listing(-(-count // per_file), lambda number: name_of_many(number).rpartition("/")[2])
    bucket.listings[f"{output}/samples"] = of_ranges if per_file == 1 else of_many
    bucket.listings[f"{output}/plans"] = Listing(shards, lambda number: f"{_shard(number).name}.json")
    stand_in(bucket)
    ranges = _numbers(pipeline, count) | "Range" >> beam.Map(_range).with_output_types(ShardRange)
    if per_file == 1:
        ledger_files = ranges | "Ledger" >> beam.Map(ledger_name).with_output_types(str)
    else:
        ledger_files = pipeline | "Ledger" >> beam.Create([name_of_many(n) for n in range(of_many.count)])
    nothing = pipeline | "Nothing" >> beam.Create([0])
    parts = beam.pvalue.AsSingleton(nothing)
    written = beam.pvalue.AsSingleton(
        pipeline | "NoShards" >> beam.Create([WrittenShard(0, 0, 0)]) | beam.CombineGlobally(SumWritten())
    )
    title = _Unclaimed(Claim(output, "simulated", None, 0), None, False)
    removed = strays_removed(output, title, ranges, ledger_files, parts, written)
    removed | "Check" >> beam.Map(_expect, 0)
    return bucket


def ledger(pipeline: beam.Pipeline, count: int, output: str, samples: int) -> None:
    """The whole sink over rows of which none is kept: what its batches take on this runner, and its files."""

    def batch(number: int) -> SampleBatch:
        of = _range(number)
        given = [Sample(f"{number:08d}{index:04d}", of.start + index, 1, {}) for index in range(samples)]
        table = rows.from_samples(of, given, [f"a caption of some words {index}" for index in range(samples)])
        for name in ("aesthetic", "nsfw"):
            table = rows.with_score(table, name, np.linspace(0, 1, samples))
        table = rows.with_column(table, "status", pa.array([rows.DROPPED] * samples))
        table = rows.with_column(table, "reason", pa.array(["aesthetic < 5"] * samples))
        return SampleBatch(of, table, models=_MODELS, part=f"{output}/scores/{of.name}.parquet")

    batches = _numbers(pipeline, count) | "Batch" >> beam.Map(batch).with_output_types(SampleBatch)
    input = describe_input([_shard(number) for number in range(-(-count // RANGES_PER_SHARD))])
    batches | WriteShards(output, job={"flags": {}, "input": input})


class _Steps:
    """The steps of a command over so many shards in a simulated bucket: the seconds of each, and its requests."""

    def __init__(self, count: int) -> None:
        self.bucket = SimulatedBucket({f"{ROOT}/raw": Listing(count, lambda number: f"{number:08d}.tar")})
        self.seconds: dict[str, float] = {}
        stand_in(self.bucket)

    def timed(self, name: str, step: Callable[[], Any]) -> Any:
        began, before = time.perf_counter(), self.bucket.requests.total()
        found = step()
        taken = round(time.perf_counter() - began, 2)
        self.seconds[f"{name} ({self.bucket.requests.total() - before:,} requests)"] = taken
        return found


_OUTPUT, _PATTERNS = f"{ROOT}/out", [f"{ROOT}/raw/*.tar"]


def _job(matched: Matched) -> Job:
    return Job(_PATTERNS, 64, _ENCODER, (), {}, _PATTERNS, matched.found)


def checks(count: int, job_file: Path) -> dict[str, float]:
    """Times all that the first command looks at before it begins; gives the seconds of each step. Leaves its
    job.json."""
    steps = _Steps(count)
    with process_tuning.collector_paused():
        matched = steps.timed("match", lambda: match_input(_PATTERNS, _OUTPUT))
        steps.timed("identities", lambda: (urls_and_sizes(matched.shards), describe_input(matched.shards)))
    with process_tuning.collector_paused():
        steps.timed("claim", lambda: claim_output(_OUTPUT, _job(matched), overwrite=False))
    job_file.write_bytes(steps.bucket.read(f"{_OUTPUT}/{JOB}", 0, None))
    return steps.seconds


def checks_again(count: int, job_file: Path) -> dict[str, float]:
    """The same command once more, over the job.json of the first and its score parts; and what the worker asks for."""
    steps = _Steps(count)
    steps.bucket.put(f"{_OUTPUT}/{JOB}", job_file.read_bytes())
    parts = Listing(count * RANGES_PER_SHARD, lambda number: f"{_range(number).name}.parquet")
    steps.bucket.listings[f"{_OUTPUT}/scores"] = parts
    with process_tuning.collector_paused():
        standing = steps.timed("standing job", lambda: standing_job(_OUTPUT))
        matched = steps.timed("match", lambda: match_input(_PATTERNS, _OUTPUT, standing.shards))
        steps.timed("identities", lambda: (urls_and_sizes(matched.shards), describe_input(matched.shards)))
    with process_tuning.collector_paused():
        steps.timed("notes", lambda: notes_before(_OUTPUT, _job(matched), None, False, DEFAULT_READING))
        steps.timed("claim", lambda: claim_output(_OUTPUT, _job(matched), overwrite=False))
    steps.timed("remembered", Remembered(_OUTPUT))
    _expect([one.url for one in matched.found[:3]], [one.url for one in standing.shards[:3]])
    return steps.seconds


PHASES: Mapping[str, Callable[[beam.Pipeline, int], SimulatedBucket | None]]
PHASES = {"places": places, "totals": totals, "strays": strays, "waiting": waiting}
COMMANDS = {"checks": checks, "checks-again": checks_again}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a phase, and prints what it took as a line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale_phases", description=__doc__)
    parser.add_argument("phase", choices=[*PHASES, *COMMANDS, "ledger"])
    parser.add_argument("--ranges", type=int, required=True)
    parser.add_argument("--output", default="", help="of ledger: a new directory; of checks: its job.json")
    parser.add_argument("--samples", type=int, default=20, help="of a range, in the phase ledger (default 20)")
    flags, of_beam = parser.parse_known_args(argv)
    began = time.perf_counter()
    steps: dict[str, float] = {}
    bucket: SimulatedBucket | None = None
    if flags.phase in COMMANDS:
        process_tuning.turn_on()  # as our own commands do
        steps = COMMANDS[flags.phase](-(-flags.ranges // RANGES_PER_SHARD), Path(flags.output))
    else:
        options = PipelineOptions(of_beam)
        hand_over_in_pieces()  # as our own commands do
        runner = None if options.get_all_options().get("runner") else FnApiRunner()
        spilling = contextlib.nullcontext() if runner is None else spilled_to_disk()  # as our own commands do
        with spilling, beam.Pipeline(runner=runner, options=options) as pipeline:
            if flags.phase == "ledger":
                ledger(pipeline, flags.ranges, flags.output, flags.samples)
            else:
                bucket = PHASES[flags.phase](pipeline, flags.ranges)
    seconds = round(time.perf_counter() - began, 2)
    if bucket is not None:
        steps[f"all ({bucket.requests.total():,} requests)"] = seconds
    print(json.dumps({"seconds": seconds, "steps": steps}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
