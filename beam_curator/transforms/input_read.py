"""The input as the manifest tells it, where nobody knew it before the pipeline ran."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import apache_beam as beam

from beam_curator.output.job_input import describe_input
from beam_curator.samples import SampleBatch, Shard
from beam_curator.transforms.beams_own import inner_steps_untyped


class InputRead(NamedTuple):
    """The input that was read, where nobody knew it before.

    Attributes:
      described: as the manifest has it.
      urls: of its shards.
    """

    described: dict[str, Any]
    urls: list[str]


def input_read(batches: beam.PCollection[SampleBatch], job: Mapping[str, Any]) -> Any:
    """Gathers what the manifest says of the input: gives one `InputRead`, or a side input that is one.

    A command knows its input before, and nothing is gathered.

    Args:
      batches: all of them.
      job: what the manifest says of the job; with `input`, where that is known.
    """
    if "input" in job:
        return InputRead({}, [])
    return beam.pvalue.AsSingleton(batches | "InputRead" >> _ReadInput())


class _ReadInput(beam.PTransform):
    def expand(self, batches: beam.PCollection[SampleBatch]) -> beam.PCollection[InputRead]:
        shards = batches | "ShardsRead" >> beam.Map(_shard).with_output_types(Shard)
        with inner_steps_untyped(batches.pipeline):
            together = shards | "EachOnce" >> beam.Distinct() | "Together" >> beam.combiners.ToList()
        return together | "Describe" >> beam.Map(_described).with_output_types(InputRead)


def _described(shards: Sequence[Shard]) -> InputRead:
    ordered = sorted(set(shards))
    return InputRead(describe_input(ordered), [shard.url for shard in ordered])


def _shard(batch: SampleBatch) -> Shard:
    """Gives the shard of a batch with only those fields that say which shard it is."""
    return dataclasses.replace(batch.range.shard, location="", label="", listing="")
