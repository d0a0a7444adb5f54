"""A range's samples as one batch, with their bytes: read, or read again."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from beam_curator import rows
from beam_curator.errors import JobError
from beam_curator.samples import Sample, SampleBatch, ShardRange, checked_batch, readable
from beam_curator.sources.fields import fields_of
from beam_curator.sources.ranges import read_range
from beam_curator.sources.sample_images import dotted_names, images_of
from beam_curator.sources.tar.captions import caption_of


def read_batch(range: ShardRange) -> SampleBatch:
    """The samples of a range with their bytes, as a batch; its rows have the fields that are carried as well."""
    content = read_range(range)
    carried, found = fields_of(range, content.samples)
    return SampleBatch(
        range,
        rows.with_fields(rows_of(range, content.samples), carried),
        content.samples,
        errors=tuple(content.errors),
        passed_over=content.passed_over,
        findings=(*content.findings, *dotted_names(range, content.samples)),
        fields=found if range.reading.carry else None,
    )


def rows_of(range: ShardRange, samples: Sequence[Sample]) -> pa.Table:
    """The rows of a range's samples, with their bytes, before anything is decoded."""
    images = [images_of(sample, range.reading) for sample in samples]
    return rows.from_samples(
        range,
        samples,
        [caption_of(sample, range.reading) for sample in samples],
        [(image.first, image.count) for image in images],
    )


def load(batch: SampleBatch) -> SampleBatch:
    """Gives a batch its bytes: the batch itself where it has them, else one that is read again from its shard.

    Raises:
      CurationError: for what is no batch.
      JobError: when the shard no longer holds these samples.
    """
    checked_batch(batch)
    usable = [sample for sample in batch.samples or () if sample.failure is None]
    if batch.samples is not None and all(m.data is not None for s in usable for m in s.members.values()):
        return batch
    samples = read_range(batch.range).samples
    found = {(sample.offset, readable(sample.key)): sample for sample in samples}
    wanted = list(zip(batch.rows["offset"].to_pylist(), batch.rows["key"].to_pylist(), strict=True))
    missing = [key for offset, key in wanted if (offset, key) not in found]
    if missing:
        raise JobError(f'{batch.range.url}: the shard has changed since it was read: "{missing[0]}" is gone')
    return batch.replace(samples=[found[place] for place in wanted])
