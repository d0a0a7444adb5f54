"""DropRepeatedCaptions: samples whose caption comes often go, however many captions there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
import numpy as np

from beam_curator.rule_tally import sum_tallies
from beam_curator.rules.caption_repeats import CaptionRepeats, caption_ids, drop_repeated, repeated
from beam_curator.rules.lists import in_buckets
from beam_curator.samples import SampleBatch
from beam_curator.transforms.beams_own import inner_steps_untyped
from beam_curator.transforms.lineage import check_before_duplicates

_BUCKETS = 256

OfRange = tuple[str, np.ndarray, np.ndarray]
"""The name of a range, indices of its rows, and the ids of their captions."""


def _captions(batch: SampleBatch) -> Iterator[tuple[int, OfRange]]:
    indices, ids = caption_ids(batch.rows)
    for bucket, chosen in in_buckets(ids, _BUCKETS):
        yield bucket, (batch.range.name, indices[chosen], ids[chosen])


def _often(gathered: tuple[int, Iterable[OfRange]], most: int) -> Iterator[tuple[str, np.ndarray]]:
    ranges = [*gathered[1]]
    for (name, indices, _), often in zip(ranges, repeated([ids for *_, ids in ranges], most), strict=True):
        if often.any():
            yield name, indices[often]


def _drop(batch: SampleBatch, rule: CaptionRepeats, found: Mapping[str, Iterable[np.ndarray]]) -> SampleBatch:
    indices = np.concatenate([np.empty(0, np.int64), *found[batch.range.name]])
    kept, tallies = drop_repeated(batch.rows, rule, indices)
    return batch.replace(rows=kept, judged=sum_tallies((batch.judged, tallies)))


@beam.typehints.with_input_types(SampleBatch)
@beam.typehints.with_output_types(SampleBatch)
class DropRepeatedCaptions(beam.PTransform):
    """Drops samples whose caption comes too often: takes `SampleBatch`, selected, and gives it.

    Captions meet by 16 bytes of each in 256 parts, and what comes back are the indices of rows.

    Args:
      rule: how often is too often.
    """

    def __init__(self, rule: CaptionRepeats) -> None:
        super().__init__()
        self.rule = rule

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a manifest says of it."""
        return {"rules": [self.rule.name]}

    def expand(self, batches: beam.PCollection[SampleBatch]) -> beam.PCollection[SampleBatch]:
        check_before_duplicates(batches, "DropRepeatedCaptions")
        captions = batches | "Captions" >> beam.FlatMap(_captions).with_output_types(tuple[int, OfRange])
        with inner_steps_untyped(batches.pipeline):
            gathered = captions | "Gather" >> beam.GroupByKey()
            found = gathered | "Count" >> beam.FlatMap(_often, self.rule.most).with_output_types(tuple[str, np.ndarray])
        return batches | "Drop" >> beam.Map(_drop, self.rule, beam.pvalue.AsMultiMap(found)).with_output_types(
            SampleBatch
        )

    def display_data(self) -> dict[str, Any]:
        return {"keeps": f"captions that come {self.rule.most} times at most"}
