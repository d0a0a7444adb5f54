"""MatchShards, PlanRanges, ReadSamples: from the names of shards to batches of samples with their bytes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics

from beam_curator import files, matching, rows
from beam_curator.ahead import WorkAhead
from beam_curator.claims import title_of
from beam_curator.errors import JobError, UsageError
from beam_curator.identity import KnownShard, identify
from beam_curator.local_files import Missing
from beam_curator.output_apart import without_output
from beam_curator.patterns import first_few
from beam_curator.plans import KeptPlans
from beam_curator.sample_images import dotted_names, images_of
from beam_curator.samples import (
    DEFAULT_READING,
    Reading,
    Sample,
    SampleBatch,
    SeveralImages,
    Shard,
    ShardRange,
    sources,
)
from beam_curator.tar.captions import caption_of
from beam_curator.tar.names import readable
from beam_curator.tar.ranges import plan_ranges
from beam_curator.tar.reading import read_range

DEFAULT_RANGE_MB = 64
_UNNAMEABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclasses.dataclass(frozen=True)
class Matched:
    """The input.

    Attributes:
      found: the shards, each once, in the order of the urls by which a job knows them; at least one.
      missing: what was asked for and is not there.
    """

    found: list[KnownShard]
    missing: list[Missing]

    @property
    def shards(self) -> list[Shard]:
        """The shards, to be read."""
        return [one.shard for one in self.found]

    def check_missing(self) -> None:
        """Raises UsageError where anything is missing."""
        if self.missing:
            count = f"{len(self.missing):,} {'names are' if len(self.missing) > 1 else 'name is'}"
            raise UsageError(
                f"--input: {count} missing beside {len(self.found):,} that can be read: "
                f"{first_few(map(str, self.missing))}: mend --input, or give --allow_missing to go on without"
            )


def match_input(
    patterns: Sequence[str],
    output: str | None = None,
    known: Sequence[KnownShard] = (),
    called: Callable[[str], str] = str,
) -> Matched:
    """The shards that the patterns match, and what is missing.

    With `output`, what a job wrote to that directory is no input; nor may it hold other files that the patterns match.

    A pattern is a path, a glob, a directory, a brace range such as `{00000..00099}.tar`, several of these with `::`
    between them, or `@LIST`, a file with one on each line; local or in a bucket.

    Args:
      patterns: what to match.
      output: the output directory, if it may lie under the patterns.
      known: the shards that a job remembers.
      called: what the job called the file that is found under a path, where the input was moved.

    Raises:
      UsageError: when no pattern matches anything, or something that is no file.
      StorageError: when one cannot be listed.
    """
    found = matching.find(patterns)
    if output is not None:
        found = dataclasses.replace(found, files=without_output(found.files, patterns, output))
    if not found.files:
        raise UsageError(
            f"no shard matches {first_few(map(str, found.missing))}: give --input a path, glob, directory or brace "
            "range of tar files"
        )
    for file in found.files:
        _check_name(file.path)
    return Matched(identify(found.files, known, called), found.missing)


def match_shards(patterns: Sequence[str], allow_missing: bool = False, output: str | None = None) -> list[Shard]:
    """The shards that the patterns match, each once, in the order of their urls: `match_input` says what a pattern is,
    and what `output` does.

    Raises:
      UsageError: as `match_input`; and, unless `allow_missing`, for a pattern that matches nothing, a link to nothing,
        or a file or directory that cannot be read.
      StorageError: when one cannot be listed.
    """
    matched = match_input(patterns, output)
    if not allow_missing:
        matched.check_missing()
    return matched.shards


def _check_name(path: str) -> None:
    """Raises UsageError for what cannot be read as a shard, or be named in the ledger."""
    if _UNNAMEABLE.search(path):
        raise UsageError(f"a shard's name is not UTF-8, or holds control characters: rename {path!r}")
    local = None if files.is_remote(path) else pathlib.Path(path)
    if local and local.exists() and not local.is_file():  # a pipe would be waited for without end
        raise UsageError(f"{path} is not a file, but a pipe, device or directory: take it out of --input")


def describe_input(shards: Sequence[Shard], missing: Sequence[Missing] = ()) -> dict[str, Any]:
    """The input as the manifest tells it: how many shards, how many bytes, a SHA-256 of what identifies them, and what
    was missing, if anything was."""
    digest = hashlib.sha256(json.dumps([list(shard.identity.values()) for shard in shards]).encode())
    return {
        "shards": len(shards),
        "bytes": sum(shard.size_bytes for shard in shards),
        "fingerprint": digest.hexdigest(),
        **({"missing": [dataclasses.asdict(one) for one in missing]} if missing else {}),
    }


@dataclasses.dataclass
class MatchShards(beam.PTransform):
    """Lists the input.

    Takes the pipeline, gives a PCollection of `Shard`.

    Attributes:
      patterns: what `match_input` takes; lists are read, and `~` is written out, where the pipeline is built.
      allow_missing: whether to go on without what is missing, where something else is there.
      seen: `urls_and_sizes` of the shards that were there when the pipeline was built: the job fails where it finds
        others. None to take what it finds.
      output: the output directory, if it may lie under the patterns: what a job wrote there is left out.
      known: gives the shards that a job remembers, which keep their urls however the patterns spell them.
    """

    patterns: Sequence[str]
    allow_missing: bool = False
    seen: str | None = None
    output: str | None = None
    known: Callable[[], Sequence[KnownShard]] = tuple

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a manifest says of it."""
        return {"patterns": list(self.patterns)}

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[Shard]:
        patterns = matching.named_patterns(self.patterns)
        again = beam.FlatMap(_match_again, self.allow_missing, self.seen, self.output, self.known)
        return begin | beam.Create([patterns]) | again


def urls_and_sizes(shards: Sequence[Shard]) -> str:
    """SHA-256 of which shards these are and how large, as 64 hex digits."""
    return hashlib.sha256(json.dumps([(shard.url, shard.size_bytes) for shard in shards]).encode()).hexdigest()


def _match_again(
    patterns: Sequence[str],
    allow_missing: bool,
    seen: str | None,
    output: str | None,
    known: Callable[[], Sequence[KnownShard]],
) -> list[Shard]:
    try:
        matched = match_input(patterns, output, known())
        if not allow_missing:
            matched.check_missing()
    except UsageError as error:
        raise JobError(str(error)) from error
    shards = matched.shards
    if seen is not None and urls_and_sizes(shards) != seen:
        raise JobError(
            f"the input has changed since this command looked at it: there are {len(shards):,} shards now, some "
            "of them new, gone or of another size. Run the same command again when the input is whole"
        )
    return shards


def range_bytes_of(range_mb: float) -> int:
    """About how many bytes a range holds."""
    return max(1, int(range_mb * (1 << 20)))


@dataclasses.dataclass
class PlanRanges(beam.PTransform):
    """Cuts shards into ranges at sample boundaries, and spreads the ranges over the workers.

    Takes `Shard`, gives `ShardRange`.

    Attributes:
      range_mb: about how much of a shard is one unit of work, in MiB.
      output: the output directory, whose `plans/` remember where large and compressed shards are cut; None to read
        such shards in every run.
      reading: how the ranges are to be read.
    """

    range_mb: float = DEFAULT_RANGE_MB
    output: str | None = None
    reading: Reading = DEFAULT_READING

    def __post_init__(self) -> None:
        if not 0 < self.range_mb < math.inf:
            raise UsageError(f"range_mb={self.range_mb}: a range needs a size above 0 MiB")

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a manifest says of it."""
        return {"range_mb": self.range_mb}

    def expand(self, shards: beam.PCollection[Shard]) -> beam.PCollection[ShardRange]:
        range_bytes = range_bytes_of(self.range_mb)
        plans = KeptPlans(self.output, title=title_of(shards, self.output)) if self.output else None
        return (
            shards
            | "SpreadShards" >> beam.Reshuffle()
            | "Plan" >> beam.FlatMap(plan_ranges, range_bytes, plans, self.reading).with_output_types(ShardRange)
            | "SpreadRanges" >> beam.Reshuffle()
        )


def read_batch(range: ShardRange) -> SampleBatch:
    """The samples of a range with their bytes, as a batch."""
    content = read_range(range)
    return SampleBatch(
        range,
        rows_of(range, content.samples),
        content.samples,
        errors=tuple(content.errors),
        passed_over=content.passed_over,
        findings=(*content.findings, *dotted_names(range, content.samples)),
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
    """The batch with its bytes: itself where it has them, else read again from its shard.

    Raises:
      JobError: when the shard no longer holds these samples.
    """
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


class _ReadRanges(WorkAhead[ShardRange, SampleBatch]):
    def setup(self) -> None:
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="read")

    def start(self, range: ShardRange) -> Callable[[], SampleBatch]:
        reading = self._reader.submit(read_batch, range)
        return lambda: _counted(reading.result())

    def teardown(self) -> None:
        self._reader.shutdown(wait=False, cancel_futures=True)


def _counted(batch: SampleBatch) -> SampleBatch:
    Metrics.counter("beam_curator", "samples_read").inc(len(batch))
    Metrics.counter("beam_curator", "bytes_read").inc(batch.range.end - batch.range.start)
    return batch


@dataclasses.dataclass
class ReadRanges(beam.PTransform):
    """Reads ranges: takes `ShardRange`, gives `SampleBatch` with bytes. Keep what needs the bytes fused with it.

    A range is read while the steps that follow work on the one before.
    """

    def expand(self, ranges: beam.PCollection[ShardRange]) -> beam.PCollection[SampleBatch]:
        return ranges | beam.ParDo(_ReadRanges()).with_output_types(SampleBatch)


@dataclasses.dataclass
class ReadSamples(beam.PTransform):
    """Reads WebDataset shards: takes the pipeline, gives `SampleBatch` with bytes.

    Attributes:
      patterns: a path, glob, directory or brace range, local or in a bucket, or several of them.
      range_mb: about how much of a shard is one batch, in MiB.
      allow_missing: whether to go on without what is missing, where something else is there.
      group_by_key, several_images, image_from, caption_from: as those of `Reading`; extensions may be given as text
        with commas between them.
    """

    patterns: str | Sequence[str]
    range_mb: float = DEFAULT_RANGE_MB
    allow_missing: bool = False
    group_by_key: bool = False
    several_images: SeveralImages = "fail"
    image_from: str | Sequence[str] = ()
    caption_from: str | Sequence[str] = ()

    def __post_init__(self) -> None:
        self._reading = Reading(
            self.group_by_key,
            self.several_images,
            sources("image_from", self.image_from),
            sources("caption_from", self.caption_from),
        )

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[SampleBatch]:
        patterns = [self.patterns] if isinstance(self.patterns, str) else list(self.patterns)
        return (
            begin
            | MatchShards(patterns, self.allow_missing)
            | PlanRanges(self.range_mb, reading=self._reading)
            | ReadRanges()
        )
