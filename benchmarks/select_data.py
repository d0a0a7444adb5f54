"""Finished jobs for the select benchmark: shards that exist, and the scores that a model would have given them.

Images are never decoded: re-selecting reads scores and copies bytes. So they are drawn photographs, from the first
again when they run out, or noise, where a million would take too long to draw. All else is as a real job leaves it.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import multiprocessing
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions

from beam_curator import rows
from beam_curator.commands.curation import prepare
from beam_curator.commands.options import CurationOptions
from beam_curator.identities import ModelIdentity
from beam_curator.output.job_input import match_shards
from beam_curator.output.ownership import claim_output
from beam_curator.output.score_parts import write_part
from beam_curator.output.score_steps import ScoreStep
from beam_curator.samples import SampleBatch, Shard
from beam_curator.sources.sample_batches import read_batch
from beam_curator.sources.tar.planning import plan_ranges, range_bytes_of
from benchmarks.photos import PhotoShards

EMBEDDING_DIM = 768
PROCESSES = 2
SMALL = 5000


@dataclasses.dataclass(frozen=True)
class JobSize:
    """The size of a job, and what it is made of.

    Attributes:
      samples: how many samples in all.
      samples_per_shard: how many of them an input shard holds.
      images: where the images are from, or of how many bytes of noise each of them is.
      range_mb: the job's `--range_mb`.
      embeddings: a file of float16 [samples, 768]; None for random ones.
    """

    samples: int
    samples_per_shard: int
    images: PhotoShards | int
    range_mb: float = 64
    embeddings: Path | None = None

    @property
    def shards(self) -> int:
        """The number of input shards."""
        return -(-self.samples // self.samples_per_shard)


def flags_of_job(directory: Path, size: JobSize) -> list[str]:
    """The flags of the job in a directory, but for its thresholds."""
    return [
        *("--input", str(directory / "raw"), "--output", str(directory / "curated")),
        *("--range_mb", str(size.range_mb), "--clip_model", "tiny-untrained"),
    ]


def make_scored_job(directory: Path, size: JobSize) -> None:
    """Makes a job in which every range is scored: `raw/` with shards, `curated/scores/` with a part for each range.

    The parts are written by the same code as a job's, under the same fingerprints, so that the main job takes them for
    its own.
    """
    (directory / "raw").mkdir(parents=True)
    with _processes(size) as pool:
        list(pool.map(functools.partial(_make_shard, str(directory / "raw"), size), range(size.shards)))
        options = PipelineOptions(flags_of_job(directory, size)).view_as(CurationOptions)
        job = prepare(options, time.time()).job
        claim_output(str(directory / "curated"), job, overwrite=False)
        score = functools.partial(_score_shard, str(directory / "curated"), size, job.models, job.scorers)
        shards = match_shards(options.input)
        list(pool.map(score, shards, range(0, size.samples, size.samples_per_shard)))


def _processes(size: JobSize) -> Executor:
    """Makes the executor for a job; a small one is made in less time than processes take to start."""
    if size.samples <= SMALL:
        return ThreadPoolExecutor(1)
    return ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn"))


def _make_shard(directory: str, size: JobSize, index: int) -> None:
    """Writes one shard as img2dataset lays it out: an image and its caption for each sample, under running keys."""
    first = index * size.samples_per_shard
    count = min(size.samples_per_shard, size.samples - first)
    with (
        Path(directory, f"{index:05d}.tar").open("wb", buffering=1 << 20) as file,
        tarfile.open(fileobj=file, mode="w") as tar,
    ):
        for place, image in enumerate(_images(size.images, first, count)):
            key = f"{index:05d}{place:04d}"
            caption = f"a picture of thing {place} on table {index}, by the window".encode()
            for extension, data in (("jpg", image), ("txt", caption)):
                info = tarfile.TarInfo(f"{key}.{extension}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def _images(source: PhotoShards | int, first: int, count: int) -> Iterator[bytes | memoryview]:
    if isinstance(source, int):
        noise = memoryview(np.random.default_rng(first).bytes(source + count))
        return (noise[place : place + source] for place in range(count))
    jpegs = _jpegs(source)
    return (jpegs[place % len(jpegs)] for place in range(first, first + count))


@functools.cache
def _jpegs(photographs: PhotoShards) -> list[bytes]:
    return photographs.jpegs()


def _score_shard(
    output: str,
    size: JobSize,
    models: Mapping[str, ModelIdentity],
    steps: Sequence[ScoreStep],
    shard: Shard,
    first: int,
) -> None:
    for one in plan_ranges(shard, range_bytes_of(size.range_mb)):
        batch = _with_made_up_scores(read_batch(one))
        embeddings = _embeddings(batch, size, first)
        batch = batch.replace(embeddings=embeddings, models=models)
        first += len(batch)
        write_part(output, batch, steps)


def _with_made_up_scores(batch: SampleBatch) -> SampleBatch:
    """The batch as if a model had scored it: facts of the bytes, and numbers that look like a real job's."""
    count, random = len(batch), _random(batch)
    images = [sample.members["jpg"].data or b"" for sample in batch.samples or ()]
    facts: dict[str, object] = {
        "width": random.integers(200, 2000, count),
        "height": random.integers(200, 2000, count),
        "format": ["jpeg"] * count,
        "bytes": [len(image) for image in images],
        "sha256": [hashlib.sha256(image).hexdigest() for image in images],
        "phash": [f"{value:016x}" for value in random.integers(0, 1 << 63, count)],
    }
    table: pa.Table = batch.rows
    for name, values in facts.items():
        table = rows.with_column(table, name, values)
    table = rows.with_score(table, "aesthetic", random.normal(5.0, 1.0, count))
    table = rows.with_score(table, "nsfw", random.beta(0.3, 3.0, count))
    return batch.replace(rows=table)


def _embeddings(batch: SampleBatch, size: JobSize, first: int) -> np.ndarray:
    """Returns the vectors that the job is to have from this row on, or drawn ones."""
    if size.embeddings is not None:
        found = np.memmap(size.embeddings, np.float16, "r").reshape(size.samples, EMBEDDING_DIM)
        return np.array(found[first : first + len(batch)])
    drawn = _random(batch).standard_normal((len(batch), EMBEDDING_DIM), np.float32)
    return np.asarray((drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float16))


def _random(batch: SampleBatch) -> np.random.Generator:
    return np.random.default_rng([batch.range.start, *batch.range.url.encode()])
