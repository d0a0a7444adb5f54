"""A trial before the run: a few ranges are scored on this machine, and their scores are kept."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.metrics import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineResult

from beam_curator.commands import running
from beam_curator.commands.estimating import Rate
from beam_curator.commands.progress_line import duration
from beam_curator.first_few import counted
from beam_curator.process_tuning import usable_cores
from beam_curator.progress import BOARD, Done
from beam_curator.samples import ShardRange
from beam_curator.sources.counting import Density
from beam_curator.transforms.checkpointing import Checkpoint
from beam_curator.transforms.metrics import NAMESPACE


@dataclasses.dataclass(frozen=True)
class Trial:
    """The result of a trial.

    Attributes:
      images: how many samples were scored.
      rate: how fast; None where none of them could be embedded, which says nothing of the model.
    """

    images: int
    rate: Rate | None


def chosen(ranges: Sequence[ShardRange], density: Density, images: int) -> list[ShardRange]:
    """Ranges that hold about so many images, one at least: by a hash of their names, so that they are spread over the
    input and the same ones each time."""
    found: list[ShardRange] = []
    count = 0.0
    for range in sorted(ranges, key=lambda one: hashlib.sha256(one.name.encode()).digest()):
        if found and count >= images:
            break
        found.append(range)
        count += density.samples_in(range)
    return found


def run_trial(options: PipelineOptions, checkpoint: Checkpoint, ranges: Sequence[ShardRange], output: str) -> Trial:
    """Scores ranges in an output directory that is claimed, and tells how fast that was.

    Raises:
      JobError: when scoring fails for a reason that the user can mend.
    """

    def build(pipeline: beam.Pipeline) -> None:
        pipeline | beam.Create(list(ranges)).with_output_types(ShardRange) | beam.Reshuffle() | checkpoint

    total = sum(range.size_bytes for range in ranges)
    result = running.run_pipeline(options, build, total, output, total_shards=len({one.shard for one in ranges}))
    done = BOARD.read()
    return Trial(done.scored, _measured(done, time.time(), _means(result)))


def _measured(done: Done, now: float, means: Sequence[str]) -> Rate | None:
    """Computes how fast a trial was, from when the first images were embedded, or from the beginning, where these are
    most of them. None where none was."""
    if done.failed >= done.scored:
        return None
    flowed, since = done.scored - done.flowing_samples, done.flowing_since
    if flowed < done.flowing_samples or not since:
        flowed, since = done.scored, done.began
    seconds, loading = max(now - since, 1e-3), max(0.0, since - done.began)
    machine = f"this machine with {counted(usable_cores(), 'core')}"
    after = f", after {duration(loading)} of loading" if loading else ", loading included"
    detail = ", ".join([f"{counted(flowed, 'image')} in {seconds:.1f}s{after}", *means])
    failed = f", {done.failed:,} of which failed," if done.failed else ""  # these take less time than others
    return Rate(flowed / seconds, f"a trial of {counted(done.scored, 'image')}{failed} on {machine}", loading, detail)


def _means(result: PipelineResult) -> list[str]:
    """Says the mean times of decoding and of the model."""
    found = result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))["distributions"]
    means = {one.key.metric.name: one.committed.mean for one in found if one.committed and one.committed.count}
    told = []
    if means.get("image_decode_us"):
        told.append(f"decoding {means['image_decode_us'] / 1000:.1f} ms an image")
    if means.get("model_pass_us"):
        told.append(f"passes of {means['model_pass_us'] / 1000:.0f} ms")
    return told
