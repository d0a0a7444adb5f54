"""ExplodeSamples, BatchSamples: between our batches and other Beam jobs, which like one element a sample."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.transforms.display import DisplayDataItem
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from beam_curator import rows
from beam_curator.errors import CurationError, UsageError
from beam_curator.given_values import is_whole, switch
from beam_curator.models.scorers.scorer import TEXT_EMBEDDING
from beam_curator.output.score_steps import fields_of
from beam_curator.rule_tally import sum_tallies
from beam_curator.samples import Sample, SampleBatch
from beam_curator.transforms.beams_own import check_one_window
from beam_curator.transforms.lineage import facts_of
from beam_curator.transforms.sample_rows import columns_of, row_type, rows_of_batch

_TOLD_ONCE = ("errors", "batch_reductions", "judged", "passed_over", "findings")
"""The attributes of a batch that are of the whole of it: its first sample carries them."""


def explode(batch: SampleBatch) -> Iterator[Sample]:
    """The samples of a batch, each with its row, embedding, range and models; the first one with what is told of the
    batch. Of a batch without samples, nothing is told."""
    table = batch.rows.to_pylist()
    samples = batch.samples or [Sample(row["key"], row["offset"], row["span_bytes"], {}) for row in table]
    for index, (sample, row) in enumerate(zip(samples, table, strict=True)):
        embedding = None if batch.embeddings is None else batch.embeddings[index]
        more = None if batch.more_embeddings is None else batch.more_embeddings[np.asarray(batch.more_of) == index]
        yield dataclasses.replace(
            sample,
            row=row,
            embedding=embedding,
            range=batch.range,
            models=batch.models,
            more_embeddings=more,
            of_batch={} if index else {name: getattr(batch, name) for name in _TOLD_ONCE},
        )


def gather(samples: Sequence[Sample], fields: Sequence[pa.Field] = ()) -> SampleBatch:
    """The batch of samples of one shard that `explode` made, in the order of the shard; the inverse of `explode`.

    Args:
      samples: at least one.
      fields: the columns that scorers gave, of which a row alone does not tell type and role.

    Raises:
      CurationError: for samples that did not come from `ExplodeSamples`.
    """
    ordered = sorted(samples, key=lambda sample: sample.offset)
    first = ordered[0]
    if first.range is None or any(sample.row is None for sample in ordered):
        raise CurationError(f'sample "{first.key}" has no row: BatchSamples takes what ExplodeSamples gave')
    covered = dataclasses.replace(
        first.range,
        start=first.offset,
        end=max(one.end for one in ordered),
        last=False,
        regathered=first.range.regathered or first.offset != first.range.start,
    )
    embeddings = [sample.embedding for sample in ordered if sample.embedding is not None]
    more = [sample.more_embeddings for sample in ordered if sample.more_embeddings is not None]
    has_more = len(more) == len(ordered)
    return SampleBatch(
        covered,
        rows.from_dicts([sample.row for sample in ordered if sample.row is not None], fields),
        [
            dataclasses.replace(
                sample, row=None, embedding=None, range=None, models={}, more_embeddings=None, of_batch={}
            )
            for sample in ordered
        ],
        np.stack(embeddings) if len(embeddings) == len(ordered) else None,
        first.models,
        more_embeddings=np.concatenate(more) if has_more else None,
        more_of=np.repeat(np.arange(len(more)), [*map(len, more)]) if has_more else None,
        **_told_once([sample.of_batch for sample in ordered if sample.of_batch]),
    )


def _told_once(told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Merges what several batches of one range tell besides their rows."""
    return {
        "errors": tuple(error for one in told for error in one["errors"]),
        "batch_reductions": sum(one["batch_reductions"] for one in told),
        "judged": sum_tallies(one["judged"] for one in told),
        "passed_over": dict(sum((collections.Counter(one["passed_over"]) for one in told), collections.Counter())),
        "findings": tuple(finding for one in told for finding in one["findings"]),
    }


@beam.typehints.with_input_types(SampleBatch)
@beam.typehints.with_output_types(Sample)
@dataclasses.dataclass(eq=False)
class ExplodeSamples(beam.PTransform):
    """Splits batches into samples: takes `SampleBatch`, gives `Sample` with `row`, `embedding`, `range` and `models`.

    Attributes:
      as_rows: whether to give `beam.Row` with a schema in place of `Sample`, for Beam's SQL, YAML and file writers: a
        sample's facts, its outcome so far, and the scores of each `Score` before; without bytes and embedding.
    """

    as_rows: bool = False

    def __post_init__(self) -> None:
        if switch(self.as_rows, "as_rows"):
            self.with_output_types(Any)  # the columns show in `expand`

    def expand(self, batches: beam.PCollection[SampleBatch]) -> beam.PCollection[Any]:
        if self.as_rows:
            columns = columns_of(batches)
            names = [name for name, _ in columns]
            return batches | beam.FlatMap(rows_of_batch, names).with_output_types(row_type(columns))
        if any(step.name == TEXT_EMBEDDING for step in facts_of(batches).steps):
            raise UsageError("ExplodeSamples gives no embeddings of captions: put EmbedCaptions after BatchSamples")
        return batches | beam.FlatMap(explode).with_output_types(Sample)


class _Batch(beam.DoFn):
    def __init__(self, max_samples: int | None, fields: Sequence[pa.Field]) -> None:
        self._max_samples, self._fields = max_samples, fields
        self._waiting: list[Sample] = []

    def start_bundle(self) -> None:
        self._waiting = []

    def process(self, sample: Sample) -> Iterable[SampleBatch]:
        full = len(self._waiting) == self._max_samples
        if self._waiting and (full or self._waiting[-1].range != sample.range):
            yield gather(self._waiting, self._fields)
            self._waiting = []
        self._waiting.append(sample)

    def finish_bundle(self) -> Iterable[WindowedValue]:
        if self._waiting:
            window = GlobalWindow()
            yield WindowedValue(gather(self._waiting, self._fields), window.max_timestamp(), (window,))
        self._waiting = []


@beam.typehints.with_input_types(Sample)
@beam.typehints.with_output_types(SampleBatch)
@dataclasses.dataclass(eq=False)
class BatchSamples(beam.PTransform):
    """Joins samples into batches: takes `Sample` as `ExplodeSamples` gave it, gives `SampleBatch`.

    Samples of one range that follow each other in one bundle become one batch. Nothing is shuffled, so that bytes which
    a sample still has stay with it. For bounded input in the global window.

    What concerns a batch as a whole, such as the error of a broken shard, travels with its first sample, and is lost if
    that is filtered out. `WriteShards` writes batches that are less than a range (because of `max_samples`, or of a
    shuffle) without loss, but `beam-curator verify` refuses its output, for it looks for whole ranges.

    Attributes:
      max_samples: the most samples in a batch; None for all that follow each other.
    """

    max_samples: int | None = None

    def __post_init__(self) -> None:
        if self.max_samples is not None and not (is_whole(self.max_samples) and self.max_samples >= 1):
            raise UsageError(f"max_samples={self.max_samples!r}: a batch holds a whole number of samples, 1 or more")

    def expand(self, samples: beam.PCollection[Sample]) -> beam.PCollection[SampleBatch]:
        check_one_window(samples, "BatchSamples")
        batching = _Batch(self.max_samples, fields_of(facts_of(samples).steps))
        return samples | beam.ParDo(batching).with_output_types(SampleBatch)

    def display_data(self) -> dict[str, Any]:
        return {"max_samples": DisplayDataItem(self.max_samples, label="Most samples in a batch").drop_if_none()}
