"""A finished job of many rows for the benchmark of selecting: score parts and fields as a real job leaves them.

Its shards are one tar of tiny images under many names: selecting looks at rows, not at images. The rows differ.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import multiprocessing
import os
import tarfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions

from beam_curator import rows
from beam_curator.commands.curation import prepare
from beam_curator.commands.options import CurationOptions
from beam_curator.identities import ModelIdentity
from beam_curator.output.job_input import match_shards
from beam_curator.output.ownership import claim_output
from beam_curator.output.score_parts import write_part
from beam_curator.output.score_steps import ScoreStep
from beam_curator.samples import Sample, SampleBatch, Shard
from beam_curator.sources.ranges import plan_ranges
from beam_curator.sources.sample_batches import read_batch, rows_of
from beam_curator.sources.tar.planning import range_bytes_of

PROCESSES = 2
RANGE_MB = 64.0
_FEW = 8
"""Fewer shards are made in this process, which is faster than to start others."""

_THINGS = ("house", "dog", "red bicycle", "lake", "wooden chair", "mountain", "city street", "cup of tea", "garden")
_WHERE = ("on a hill", "by the window", "at night", "in the rain", "am See", "sur la table", "", "with a blue sky")
_SLOGANS = ("image for", "free shipping on all orders", "click to enlarge")


@dataclasses.dataclass(frozen=True)
class ScoredRows:
    """The size of a job.

    Attributes:
      rows: how many samples in all.
      rows_per_shard: how many of them an input shard holds.
      dim: length of an embedding.
    """

    rows: int
    rows_per_shard: int = 4000
    dim: int = 768

    @property
    def shards(self) -> int:
        """The number of input shards."""
        return -(-self.rows // self.rows_per_shard)


def flags_of(directory: Path) -> list[str]:
    """The flags of the job in a directory, but for its selection."""
    return [
        *("--input", str(directory / "raw"), "--output", str(directory / "curated"), "--range_mb", str(RANGE_MB)),
        *("--clip_model", "tiny-untrained", "--similarity", "--caption_measures", "--report", "false"),
    ]


def make_scored_rows(directory: Path, size: ScoredRows) -> None:
    """Makes `raw/` with shards, `curated/` with a part and fields for each, and `metadata/` as DataComp has it."""
    raw, metadata = directory / "raw", directory / "metadata"
    for one in (raw, metadata):
        one.mkdir(parents=True)
    (raw / "00000.tar").write_bytes(_tar(size.rows_per_shard))
    for index in range(1, size.shards):
        os.link(raw / "00000.tar", raw / f"{index:05d}.tar")
    options = PipelineOptions(flags_of(directory)).view_as(CurationOptions)
    job = prepare(options, time.time()).job
    claim_output(str(directory / "curated"), job, overwrite=False)
    make = functools.partial(_score_shard, directory, size.dim, job.models, job.scorers)
    shards = match_shards(options.input)
    if len(shards) < _FEW:
        list(map(make, shards))
        return
    with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(make, shards, chunksize=4))


def make_list(directory: Path, entries: int) -> Path:
    """A block list of so many SHA-256: one in twenty is a sample's, all others are nobody's."""
    path = directory / f"block-{entries}.parquet"
    if not path.exists():
        metadata = sorted((directory / "metadata").iterdir())
        hit = [pq.read_table(one, columns=["sha256"])["sha256"].combine_chunks()[::20] for one in metadata]
        there = pa.concat_arrays(hit)[: entries // 2].to_pylist()
        others = _hex(np.random.default_rng(7), entries - len(there), 32)
        pq.write_table(pa.table({"sha256": [*there, *others]}), path)
    return path


def _tar(count: int) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for place in range(count):
            for extension, data in (("jpg", b"x" * 40), ("txt", b"a caption")):
                info = tarfile.TarInfo(f"{place:09d}.{extension}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def _hex(random: np.random.Generator, count: int, size: int) -> list[str]:
    digits = random.bytes(count * size).hex()
    return [digits[start : start + 2 * size] for start in range(0, len(digits), 2 * size)]


@functools.cache
def _template(path: str, dim: int) -> tuple[Sequence[Sample], np.ndarray]:
    """The samples of the one tar, and embeddings: read and made once a process."""
    (first,) = plan_ranges(match_shards([path])[0], range_bytes_of(RANGE_MB))
    samples = read_batch(first).samples or ()
    embeddings = np.random.default_rng(1).standard_normal((len(samples), dim), np.float32)
    return samples, (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).astype(np.float16)


def _score_shard(
    directory: Path, dim: int, models: Mapping[str, ModelIdentity], steps: Sequence[ScoreStep], shard: Shard
) -> None:
    (one,) = plan_ranges(shard, range_bytes_of(RANGE_MB))
    samples, embeddings = _template(str(directory / "raw" / "00000.tar"), dim)
    random = np.random.default_rng([*Path(shard.url).stem.encode()])
    table = _scored(rows_of(one, samples), random)
    fields = _fields(len(samples), random)
    part = SampleBatch(one, rows.with_fields(table, fields), samples, embeddings, models)
    write_part(str(directory / "curated"), part, steps)
    told = pa.table(
        {
            "uid": fields["json.uid"],
            "text": table["caption"],
            "original_width": fields["json.original_width"],
            "original_height": fields["json.original_height"],
            "clip_l14_similarity_score": table["similarity"],
            "language": table["language"],
            "sha256": table["sha256"],
        }
    )
    pq.write_table(told, directory / "metadata" / f"{Path(shard.url).stem}.parquet")


def _scored(table: pa.Table, random: np.random.Generator) -> pa.Table:
    count = len(table)
    captions = _captions(count, random)
    facts: dict[str, object] = {
        "width": random.integers(64, 512, count),
        "height": random.integers(64, 512, count),
        "format": ["jpeg"] * count,
        "bytes": random.integers(4000, 90_000, count),
        "sha256": _hex(random, count, 32),
        "phash": _hex(random, count, 8),
        "caption": captions,
    }
    for name, values in facts.items():
        table = rows.with_column(table, name, values)
    scores: dict[str, object] = {
        "aesthetic": random.normal(5.0, 1.0, count),
        "nsfw": random.beta(0.3, 3.0, count),
        "similarity": random.normal(0.22, 0.05, count),
        "caption_words": [len(caption.split()) for caption in captions],
        "caption_characters": [len(caption) for caption in captions],
    }
    for name, values in scores.items():
        table = rows.with_score(table, name, values)
    table = rows.with_score(table, "language", random.choice(["en", "de", "fr"], count, p=[0.7, 0.2, 0.1]), pa.string())
    return rows.with_score(table, "language_probability", random.uniform(0.3, 1, count))


def _captions(count: int, random: np.random.Generator) -> list[str]:
    things, places = (random.integers(0, len(of), count).tolist() for of in (_THINGS, _WHERE))
    numbers = random.zipf(1.3, count).tolist()
    slogans = random.choice([*range(len(_SLOGANS)), -1], count, p=[0.01, 0.01, 0.01, 0.97]).tolist()
    return [
        _SLOGANS[slogan] if slogan >= 0 else f"{_THINGS[thing]} {_WHERE[place]} {number}"
        for thing, place, number, slogan in zip(things, places, numbers, slogans, strict=True)
    ]


def _fields(count: int, random: np.random.Generator) -> pa.Table:
    columns = {
        "json.original_height": pa.array(random.integers(100, 1500, count), pa.int64()),
        "json.original_width": pa.array(random.integers(100, 1500, count), pa.int64()),
        "json.uid": pa.array(_hex(random, count, 16), pa.string()),
    }
    schema = pa.schema([rows.field_of(name, values.type, rows.CARRIED) for name, values in columns.items()])
    return pa.table([*columns.values()], schema=schema)
