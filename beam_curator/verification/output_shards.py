"""Output shards: what is in each, and every member of each sample against the input."""

from __future__ import annotations

import collections
import dataclasses
import io
import itertools
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from beam_curator import json_text
from beam_curator.errors import first_line
from beam_curator.output import ledger
from beam_curator.output.added_members import (
    CURATION_EXTENSION,
    curation_record,
    embedding_extension,
    embedding_files,
    own_extension,
)
from beam_curator.output.output_shard import counts_of, statistics
from beam_curator.output.placing import output_key, shard_name
from beam_curator.samples import Sample, Shard, ShardRange, readable
from beam_curator.sources.tar.grouping import group_samples
from beam_curator.sources.tar.headers import TarBroken, check_end, iter_headers
from beam_curator.sources.tar.span_reading import read_samples_at
from beam_curator.storage import files
from beam_curator.storage.retrying import retried
from beam_curator.verification.differences import Difference, shown, unequal_fields
from beam_curator.verification.finished import FinishedJob
from beam_curator.verification.ranges import KeptSample
from beam_curator.verification.recorded import UNREADABLE

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")

SUFFIXES = (".tar", ".parquet", "_stats.json")


@dataclasses.dataclass(frozen=True)
class OutputShard:
    """An output shard, without the bytes of its samples.

    Attributes:
      index: which one.
      tar_bytes: the size of its tar.
      samples: by key, in the order of the tar, without bytes.
      rows: by key, the rows beside the tar.
    """

    index: int
    tar_bytes: int
    samples: Mapping[str, Sample]
    rows: Mapping[str, Mapping[str, Any]]

    @property
    def tar(self) -> str:
        """Its tar's name."""
        return tar_name(self.index)


def tar_name(index: int) -> str:
    """The name of an output shard's tar."""
    return f"{shard_name(index)}.tar"


def place_of(row: Mapping[str, Any], samples_per_shard: int) -> int | None:
    """The place in the whole output that a ledger row names, or None if it names none."""
    name, _, _ = str(row["output_shard"]).partition(".tar")
    position = str(row["output_key"])[len(name) :]
    if not (name.isdecimal() and position.isdecimal()):
        return None
    place = int(name) * samples_per_shard + int(position)
    return place if _names_of(place, samples_per_shard) == (row["output_shard"], row["output_key"]) else None


def _names_of(place: int, samples_per_shard: int) -> tuple[str, str]:
    """The output shard and key of the sample at a place."""
    index, position = divmod(place, samples_per_shard)
    return tar_name(index), output_key(index, position, samples_per_shard)


def check_place(ledger: str, row: Mapping[str, Any], due: int, samples_per_shard: int) -> Iterator[Difference]:
    """A difference unless a row of this file of the ledger is at the place that is due."""
    if place_of(row, samples_per_shard) != due:
        shard, key = _names_of(due, samples_per_shard)
        yield Difference(
            ledger,
            f"{shown(row['key'])} is in {row['output_shard']} as {row['output_key']}, should be in {shard} as {key}",
        )


def open_shard(finished: FinishedJob, index: int) -> Generator[Difference, None, OutputShard]:
    """Checks an output shard as a whole: yields what is not as promised, and returns what can be read of it."""
    name = shard_name(index)
    tar, parquet, stats = (f"{name}{suffix}" for suffix in SUFFIXES)
    samples: list[Sample] = []
    tar_bytes, table = 0, None
    try:
        samples, tar_bytes, broken = _index(finished.path(tar))
        if broken is not None:
            yield Difference(tar, broken)
    except UNREADABLE as error:
        yield Difference(tar, f"cannot be read: {first_line(error)}")
    keys = [sample.key for sample in samples]
    yield from _check_keys(tar, keys, index, finished.samples_per_shard)
    try:
        table = ledger.rows_of_ledger(ledger.read_table(finished.path(parquet)))
        yield from _check_rows(parquet, table, keys, tar)
    except UNREADABLE as error:
        yield Difference(parquet, f"cannot be read: {first_line(error)}")
    if table is not None:
        yield from _check_statistics(finished, stats, table, tar_bytes, samples)
    rows = [] if table is None else table.to_pylist()
    return OutputShard(
        index,
        tar_bytes,
        {sample.key: sample for sample in samples},
        {row["output_key"]: row for row in rows if "output_key" in row},
    )


@retried
def _index(url: str) -> tuple[list[Sample], int, str | None]:
    """A tar's samples without bytes, its size, and why it is not as we write it: sample after sample, then the end."""
    samples: list[Sample] = []
    end, broken = 0, None
    with files.open_for_reading(url) as file:
        file.seek(0, io.SEEK_END)
        size = file.tell()
        try:
            for sample in group_samples(iter_headers(file)):
                if sample.offset != end:
                    broken = broken or f"something that is no sample stands at byte {end}"
                if sample.failure is not None:
                    broken = broken or f"sample {shown(sample.key)}: {sample.failure}"
                end = sample.offset + sample.span_bytes
                samples.append(sample)
            check_end(file, end)
        except TarBroken as error:
            broken = broken or str(error)
    return samples, size, broken


def _check_keys(tar: str, keys: Sequence[str], index: int, samples_per_shard: int) -> Iterator[Difference]:
    """The samples of a tar are numbered in their order; the first that is not is told."""
    for position, key in enumerate(keys):
        due = output_key(index, position, samples_per_shard)
        if key != due:
            yield Difference(tar, f"its sample number {position + 1} is {shown(key)}, should be {shown(due)}")
            return


def _check_rows(parquet: str, table: pa.Table, keys: Sequence[str], tar: str) -> Iterator[Difference]:
    """The rows beside a tar are those of its samples, in its order; the first that is not is told."""
    standing = table["output_key"].to_pylist() if "output_key" in table.schema.names else []
    for position, (found, due) in enumerate(itertools.zip_longest(standing, keys)):
        if found != due:
            what = f"its row number {position + 1} is of {shown(found)}, the sample there in {tar} is {shown(due)}"
            yield Difference(parquet, what)
            return


def _check_statistics(
    finished: FinishedJob, name: str, table: pa.Table, tar_bytes: int, samples: Sequence[Sample]
) -> Iterator[Difference]:
    """The statistics beside a tar say of it what its rows say."""
    try:
        found = dict(json_text.loads(files.read_bytes(finished.path(name))))
    except (*UNREADABLE, ValueError, TypeError) as error:
        yield Difference(name, f"cannot be read: {first_line(error)}")
        return
    # A fingerprint, by which a later run knows that the shard can stay; of input that was moved it may be another now.
    content = found.pop("content", None)
    if not (isinstance(content, str) and _FINGERPRINT.fullmatch(content)):
        yield Difference(name, f"content is {shown(content)}, should be 64 hex digits")
    try:
        members = collections.Counter(readable(name) for sample in samples for name in sample.members)
        due = {**counts_of(table.num_rows, tar_bytes, members), **statistics(table)}
    except (KeyError, TypeError, ValueError):
        return  # the rows are not what they should be, and are told as such
    yield from unequal_fields(name, found, due)


def check_samples(
    finished: FinishedJob, shard: OutputShard, kept: Sequence[KeptSample]
) -> Generator[Difference, None, int]:
    """Kept samples against the output shard that should hold them; returns how many members were compared."""
    there = []
    for one in kept:
        key = one.row["output_key"]
        parquet = f"{shard_name(shard.index)}.parquet"
        if key in shard.rows:
            yield from unequal_fields(parquet, shard.rows[key], one.row, after=f" of {key}")
        if key in shard.samples:
            there.append((shard.samples[key], one))
        else:
            yield Difference(shard.tar, f"{shown(one.row['key'])} of {one.row['shard']} should be here as {key}")
    there.sort(key=lambda pair: pair[0].offset)
    try:
        written = _read(finished.path(shard.tar), shard.tar_bytes, [sample for sample, _ in there])
    except (*UNREADABLE, TarBroken) as error:
        yield Difference(shard.tar, f"cannot be read: {first_line(error)}")
        return 0
    members = 0
    for sample, (_, one) in zip(written, there, strict=True):
        members += len(one.sample.members)
        yield from _check_members(shard.tar, sample, one)
    return members


@retried
def _read(url: str, tar_bytes: int, samples: Sequence[Sample]) -> list[Sample]:
    """Reads these samples of an output shard, in their order, with their bytes."""
    whole = ShardRange(Shard(url, tar_bytes), 0, tar_bytes, 0, last=True)
    return list(read_samples_at(whole, [(sample.offset, sample.span_bytes) for sample in samples]))


def _check_members(tar: str, written: Sample, kept: KeptSample) -> Iterator[Difference]:
    """A written sample holds the input's members bit for bit, the embedding, the record, and nothing else."""
    found = {name: bytes(member.data or b"") for name, member in written.members.items()}
    extension = embedding_extension(kept.models)
    due = {own_extension(name, extension): member for name, member in kept.sample.members.items()}
    for name, member in due.items():
        if name in found and found[name] != member.data:
            yield Difference(
                tar, f"{written.key}.{name} differs from {shown(kept.row['key'])} {member.extension} of the input"
            )
    names = [*due, extension, CURATION_EXTENSION]
    for name in names:
        if name not in found:
            yield Difference(tar, f"{written.key}.{name} is missing")
    for name in found:
        if name not in names:
            yield Difference(tar, f"{written.key}.{name} was not in the input")
    if list(found) != names and sorted(found) == sorted(names):
        yield Difference(tar, f"the members of {written.key} are not in the order of the input")
    if kept.embedding is None:
        return  # no score part to compare with, which is told as such
    embedding = embedding_files(kept.embedding[None])[0].tobytes()
    if found.get(extension, embedding) != embedding:
        yield Difference(tar, f"{written.key}.{extension} is not the embedding of the score part")
    if CURATION_EXTENSION in found:
        yield from _check_record(tar, f"{written.key}.{CURATION_EXTENSION}", found[CURATION_EXTENSION], kept)


def _check_record(tar: str, name: str, content: bytes, kept: KeptSample) -> Iterator[Difference]:
    """A sample's curation.json says what its ledger row says."""
    try:
        found = json_text.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        yield Difference(tar, f"{name} is not a JSON record")
        return
    yield from unequal_fields(tar, found, curation_record(kept.table, kept.models), before=f"{name}: ")
