"""Names the counters and distributions of a job in Beam's metrics: the pages of Dataflow and Flink show them by
name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from apache_beam.metrics import Metrics

from beam_curator import rows
from beam_curator.output.outcomes import reason_kind
from beam_curator.samples import SampleBatch

NAMESPACE = "beam_curator"

COUNTERS: Mapping[str, str] = {
    "shards_planned": "shards that are cut into ranges",
    "ranges_planned": "ranges that shards are cut into",
    "bytes_planned": "uncompressed bytes of these ranges; 100,000 for an image whose size is not known",
    "ranges_scored": "ranges whose scores are written, by this run or an earlier one",
    "ranges_to_compare": "ranges whose samples are ready to be compared, where duplicates are looked for",
    "groups_to_compare": "groups of cells whose embeddings are to be compared",
    "groups_compared": "groups of cells whose embeddings are compared",
    "samples_read": "samples that are read from shards to be scored",
    "bytes_read": "bytes that the samples read take in their shards",
    "samples_scored": "samples whose scores are written",
    "samples_failed": "scored samples that cannot be used",
    "samples_reused": "samples that had been scored before",
    "samples_from_stored": "reused samples of which new columns are computed from what is stored",
    "samples_reread": "reused samples whose images are decoded again for new columns",
    "samples_fields_read": "reused samples whose shards are read again for fields of their metadata",
    "batch_reductions": "how often the number of images in a pass was halved for want of memory",
    "samples_kept": "samples that are kept",
    "samples_listed": "samples whose rows of the ledger are written",
    "samples_written": "kept samples that are written to output shards",
    "bytes_written": "bytes of the tars of output shards that are written",
}
"""Counters, and what each counts."""

FAILED = "failed_"
"""The prefix of the counters of failures by kind: `failed_truncated_image`."""

DISTRIBUTIONS: Mapping[str, str] = {
    "range_read_ms": "milliseconds in which a range is read",
    "range_bytes": "bytes of a range",
    "image_decode_us": "microseconds in which an image is decoded and resized, on one thread",
    "model_pass_us": "microseconds from when images are handed to the model until their embeddings are there",
    "shard_write_ms": "milliseconds in which an output shard is written",
}
"""Distributions (count, sum, least and greatest), and what each is of."""

_MOST_KINDS = 40
"""So many kinds of failures have a counter of their own in a worker process: runners do not take any number."""

_kinds_met: set[str] = set()


def count(name: str, by: int = 1) -> None:
    """Adds to one of `COUNTERS`; outside of a pipeline nothing happens."""
    Metrics.counter(NAMESPACE, name).inc(by)


def observe(name: str, values: Iterable[int]) -> None:
    """Adds values to one of `DISTRIBUTIONS`; outside of a pipeline nothing happens."""
    distribution = Metrics.distribution(NAMESPACE, name)
    for value in values:
        distribution.update(value)


def count_scored(batch: SampleBatch) -> int:
    """Counts a range whose scores are written, with its failures by kind; gives how many failed."""
    is_failed = rows.status_is(batch.rows, rows.FAILED)
    failed = int(is_failed.sum())
    count("ranges_scored")
    count("samples_scored", len(batch))
    count("samples_failed", failed)
    if failed:
        for reason in batch.rows["reason"].filter(is_failed).to_pylist():
            count(counter_of_failure(reason))
    return failed


def counter_of_failure(reason: str) -> str:
    """The name of the counter of a failure's kind, such as `failed_truncated_image`."""
    words = re.sub(r"[^a-z0-9]+", "_", reason_kind(rows.FAILED, reason).lower()).strip("_")[:60]
    if words not in _kinds_met and len(_kinds_met) >= _MOST_KINDS:
        words = "for_other_reasons"
    _kinds_met.add(words)
    return f"{FAILED}{words}"
