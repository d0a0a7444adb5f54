"""The whole of a finished job, in one pass: the input, the ledger, the score parts and the output, side by side.

Kept samples stand in the output in the order of the input, so that both are read once, in order. In memory are at most
the samples of one range and the index of one output shard; of the rest, names and counts.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence

from apache_beam.io.filesystem import BeamIOError

from beam_curator.errors import first_line
from beam_curator.identities import ModelIdentity, told_models
from beam_curator.output import added_columns, field_store, plans, score_parts
from beam_curator.output.added_members import embedding_extension
from beam_curator.output.dataset_card import dataset_card
from beam_curator.output.edge_store import edge_files
from beam_curator.output.job_file import JOB
from beam_curator.output.manifest import MANIFEST, broken_shards_of, counts_of, software_versions, told_of
from beam_curator.output.outcomes import Summary, SummaryTotal
from beam_curator.output.placing import shard_name
from beam_curator.output.plans import plan_of
from beam_curator.output.report_files import report_names
from beam_curator.output.score_parts import part_name
from beam_curator.output.side_files import CARD, SIZES, is_card, is_of_others, side_file_names, sizes_of
from beam_curator.output.strays import shard_of
from beam_curator.output.totals import ModelsTotal
from beam_curator.samples import RETURNING_KEYS, readable
from beam_curator.sources.findings import describe
from beam_curator.storage import files
from beam_curator.verification.differences import Difference, unequal, unequal_fields
from beam_curator.verification.duplicates import DuplicatesChecked, check_duplicates
from beam_curator.verification.finished import FinishedJob
from beam_curator.verification.output_shards import (
    SUFFIXES,
    OutputShard,
    check_place,
    check_samples,
    open_shard,
    place_of,
    tar_name,
)
from beam_curator.verification.ranges import KeptSample, check_range
from beam_curator.verification.recorded import RecordedIn
from beam_curator.verification.shard_plans import check_plan

_ADDED = (f"{added_columns.COLUMNS_DIRECTORY}/", f"{field_store.FIELDS_DIRECTORY}/")

_OF_SHARDS = (f"{score_parts.SCORES_DIRECTORY}/", f"{plans.PLANS_DIRECTORY}/")
"""The directories in which what was computed of a shard stays when it leaves the selection."""


@dataclasses.dataclass
class Tally:
    """Counts what was compared: samples and shards of the input, shards of the output, members of kept samples; and
    duplicates, if the job looked for them."""

    samples: int = 0
    shards: int = 0
    output_shards: int = 0
    members: int = 0
    duplicates: DuplicatesChecked | None = None


def verify(finished: FinishedJob, tally: Tally) -> Iterator[Difference]:
    """Checks all that the job promised: yields what is not so, nothing for a sound job, and adds what it compared to
    the tally."""
    standing = finished.names()
    output, recorded_in = _Output(finished, standing, tally), RecordedIn(finished)
    summary, models = SummaryTotal(), ModelsTotal()
    names = {MANIFEST, JOB, *report_names(finished.output), *side_file_names(finished.output)}
    try:
        for ranges in finished.planned():
            names |= {name for name in map(plan_of, ranges) if name}
            yield from check_plan(finished, ranges)
            tally.shards += 1
            for range in ranges:
                yield from recorded_in.turn_to(range)
                names |= {recorded_in.file, part_name(range)}
                checked = yield from check_range(finished, range, recorded_in)
                summary.add(checked.summary)
                models.add(checked.models)
                tally.samples += checked.samples
                yield from output.compare(recorded_in.file, checked.kept)
    except (OSError, BeamIOError) as error:  # a shard that cannot even be planned: what is due after it is unknown
        yield Difference("input", f"cannot be read: {first_line(error)}")
        return
    yield from recorded_in.finish()
    yield from output.finish()
    yield from _check_manifest(finished, summary.summary, output, models.models)
    tally.duplicates = yield from check_duplicates(finished)
    names |= {path[len(finished.output) :].lstrip("/") for path in edge_files(finished.output)}
    names |= {f"{shard_name(index)}{suffix}" for index in output.samples for suffix in SUFFIXES}
    kept = finished.unselected
    ranges_there = {name.rpartition("/")[2] for name in names if name.startswith(_OF_SHARDS)}
    yield from _check_sizes(finished, output)
    yield from _check_card(finished, output, models.models)
    for name in sorted(standing - names):
        if name == CARD or is_of_others(name):
            continue  # the user's own card, and indices that other tools make of the tars
        if name.startswith(_ADDED) and name.rpartition("/")[2] in ranges_there:
            continue  # of another selection: kept, as scores are
        if not (name.startswith((*_OF_SHARDS, *_ADDED)) and shard_of(name) in kept):
            yield Difference(name, "does not belong here")


def _check_manifest(
    finished: FinishedJob, summary: Summary, output: _Output, models: Mapping[str, ModelIdentity]
) -> Iterator[Difference]:
    """The manifest's counts are those of the ledger, of the input's broken shards and of the output."""
    manifest = finished.manifest
    yield from unequal_fields(MANIFEST, manifest.get("counts") or {}, counts_of(summary), "counts.")
    yield from unequal(MANIFEST, "broken_shards", manifest.get("broken_shards"), broken_shards_of(summary))
    told = told_of(summary)
    for name, due in told.items():
        yield from unequal(MANIFEST, name, manifest.get(name), due)
    for apart in told[RETURNING_KEYS]:  # what stands in the shard, and did not come out with its sample
        yield Difference(apart["shard"], describe(RETURNING_KEYS, [apart]))
    # Of the input, not the fingerprint: a copy in a bucket may have another, and the bytes are compared already.
    read = {"shards": len(finished.shards), "bytes": sum(shard.size_bytes for shard in finished.shards)}
    recorded = {name: (manifest.get("input") or {}).get(name) for name in read}
    yield from unequal_fields(MANIFEST, recorded, read, "input.")
    written = {"shards": len(output.samples), "bytes": output.tar_bytes}
    yield from unequal_fields(MANIFEST, manifest.get("output") or {}, written, "output.")
    yield from unequal(MANIFEST, "models", manifest.get("models"), told_models(models))


def _check_sizes(finished: FinishedJob, output: _Output) -> Iterator[Difference]:
    """sizes.json says of each output shard how many samples it has."""
    try:
        found = files.read_bytes(finished.path(SIZES))
    except (OSError, BeamIOError) as error:
        yield Difference(SIZES, f"cannot be read: {first_line(error)}")
        return
    if found != sizes_of(output.samples):
        yield Difference(SIZES, "does not say how many samples each output shard has")


def _check_card(finished: FinishedJob, output: _Output, models: Mapping[str, ModelIdentity]) -> Iterator[Difference]:
    """README.md is the card of what stands there, if it is ours: somebody's own stays, and other releases of us have
    other words."""
    try:
        found = files.read_bytes(finished.path(CARD))
    except (OSError, BeamIOError) as error:
        yield Difference(CARD, f"cannot be read: {first_line(error)}")
        return
    try:
        if not is_card(found) or finished.manifest["software"]["beam-curator"] != software_versions()["beam-curator"]:
            return
        members = dict(sorted(output.members.items()))
        due = dataset_card(finished.manifest, members, embedding_extension(models)).encode()
    except (AttributeError, KeyError, TypeError, ValueError):
        return  # the manifest is not what it should be, and is told as such
    if found != due:
        yield Difference(CARD, "does not tell counts, models and members as they are")


class _Output:
    """The output shards, opened one after the other as the samples of the input come to them.

    Attributes:
      samples: how many samples each of them holds, by its index.
      tar_bytes: the sizes of all tars.
      members: of how many samples in them each extension is a member.
    """

    def __init__(self, finished: FinishedJob, standing: Collection[str], tally: Tally) -> None:
        self._finished, self._standing, self._tally = finished, standing, tally
        self._due = 0
        self._open: OutputShard | None = None
        self.samples: dict[int, int] = {}
        self.tar_bytes = 0
        self.members: collections.Counter[str] = collections.Counter()

    def compare(self, ledger: str, kept: Sequence[KeptSample]) -> Iterator[Difference]:
        """The kept samples of the next range: whether each is at its place, and the same there."""
        per_shard = self._finished.samples_per_shard
        placed: list[tuple[int, KeptSample]] = []
        for one in kept:
            yield from check_place(ledger, one.row, self._due, per_shard)
            place = place_of(one.row, per_shard)
            if place is None or tar_name(place // per_shard) not in self._standing:
                self._due += 1
                continue
            # The next one is due after this one, where it is: a sample out of place is one difference, not thousands.
            self._due = place + 1
            placed.append((place // per_shard, one))
        for index, group in itertools.groupby(placed, key=lambda pair: pair[0]):
            shard = yield from self._shard(index)
            self._tally.members += yield from check_samples(self._finished, shard, [one for _, one in group])

    def _shard(self, index: int) -> Generator[Difference, None, OutputShard]:
        if self._open is not None and self._open.index == index:
            return self._open
        opening = open_shard(self._finished, index)
        # Samples out of place may lead back to a shard whose differences are told already.
        opened = _returned(opening) if index in self.samples else (yield from opening)
        if index not in self.samples:
            self.samples[index] = len(opened.samples)
            self.tar_bytes += opened.tar_bytes
            self.members.update(readable(name) for sample in opened.samples.values() for name in sample.members)
            self._tally.output_shards += 1
        self._open = opened
        return opened

    def finish(self) -> Iterator[Difference]:
        """Checks, after the last range, the shards that no kept sample led to, and whether each is as full as it should
        be."""
        per_shard = self._finished.samples_per_shard
        for index in range(-(-self._due // per_shard)):
            if index not in self.samples:
                yield from self._shard(index)
            held, due = self.samples[index], min(per_shard, self._due - index * per_shard)
            if held != due:
                yield Difference(tar_name(index), f"holds {held} samples, should hold {due}")


def _returned(opening: Generator[Difference, None, OutputShard]) -> OutputShard:
    """Runs a check, and passes over the differences that it yields; gives what it returns."""
    while True:
        try:
            next(opening)
        except StopIteration as stop:
            return stop.value
