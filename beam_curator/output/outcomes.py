"""Counts what became of samples, by outcome and reason; the counts must balance."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from beam_curator import rows
from beam_curator.errors import JobError
from beam_curator.field_tally import FieldsFound
from beam_curator.first_few import counted, listed
from beam_curator.identities import told_models
from beam_curator.models.encoders.stream import EMBEDDING_FAILURES
from beam_curator.output.losses import Losses, LossesTotal
from beam_curator.phases import Span, add_spans, sum_spans
from beam_curator.rule_tally import RuleTally, Tallies, add_tallies
from beam_curator.samples import Finding, SampleBatch, ShardError
from beam_curator.sources.findings import KINDS, describe
from beam_curator.storage.web_hosts import is_of_a_host


@dataclasses.dataclass(frozen=True)
class Summary:
    """Counts of some samples by what became of them, and of what else was met in their shards.

    Attributes:
      seen: how many samples there are.
      kept: how many of them are kept.
      dropped_by: how many are dropped, by reason.
      failed_by: how many failed, by kind of reason (see `reason_kind`).
      errors: the shards that could not be read to their end.
      batch_reductions: how often this run halved the model's micro-batch for want of memory.
      judged: the tally of each rule.
      outcomes: a sum of hashes, which differs if other models scored, or if any sample has another outcome.
      passed_over: how many entries of tars belong to no sample, by kind.
      findings: other oddities of shards, at most one of a kind for each shard.
      several_images: how many samples hold several images.
      losses: what could not be read of broken and empty shards.
      unhashed: in a job that looks for duplicates, how many samples were compared without a perceptual hash, because an
        earlier release scored them.
      fields: tallies of the fields of the samples' metadata.
      spans: when this run worked on the samples, by phase.
      unedited: as `unhashed`, how many samples had a perceptual hash, but not those of edits.
    """

    seen: int = 0
    kept: int = 0
    dropped_by: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    failed_by: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    errors: tuple[ShardError, ...] = ()
    batch_reductions: int = 0
    judged: Tallies = dataclasses.field(default_factory=dict)
    outcomes: int = dataclasses.field(default=0, compare=False)
    passed_over: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    findings: tuple[Finding, ...] = ()
    several_images: int = 0
    losses: Losses = dataclasses.field(default_factory=Losses, compare=False)
    unhashed: int = 0
    fields: FieldsFound = dataclasses.field(default_factory=FieldsFound, compare=False)
    spans: Mapping[str, Span] = dataclasses.field(default_factory=dict, compare=False)
    unedited: int = 0

    @property
    def dropped(self) -> int:
        """The number of samples that rules dropped."""
        return sum(self.dropped_by.values())

    @property
    def failed(self) -> int:
        """The number of samples that could not be used."""
        return sum(self.failed_by.values())

    def check_failed_fraction(self, limit: float) -> None:
        """Raises JobError if more than this fraction of the samples failed, or was lost in broken shards; under any
        limit, if all did."""
        lost = self.losses.lost_samples(self.seen)
        failed, seen = self.failed + lost, self.seen + lost
        if self.seen and self.failed == self.seen:
            raise JobError(
                f"not one sample could be used: {self.failed:,} of {counted(self.seen, 'sample')} failed"
                f"{self.losses.describe(self.seen)}: {self._worst()}. {self._hints()}Scores are kept: "
                f"{self._mend()}, and run the same command again"
            )
        if self.seen and failed > limit * seen:
            raise JobError(
                f"{self.failed:,} of {counted(self.seen, 'sample')} failed{self.losses.describe(self.seen)} "
                f"({failed / seen:.1%}), over --max_failed_fraction {limit:g}: {self._worst()}. Scores are kept: "
                f"{self._mend()} or raise the limit, and run the same command again"
            )

    def _mend(self) -> str:
        """Says what the user may do before running the same command again. What a scorer raised stands as its scores
        do, until it has another identity; so does what a model made nothing of, and what a host answered: it may be
        gone for good."""
        (worst, *_) = sorted(self.failed_by, key=lambda reason: (-self.failed_by[reason], reason)) or [""]
        if is_of_a_host(worst):
            cost = "" if self.failed == self.seen else ", which throws the scores away;"
            return f"take urls that are gone out of the input, or give --overwrite to ask for all again{cost}"
        if worst in EMBEDDING_FAILURES:
            return "mend the encoder or take another --precision, give --overwrite to embed anew"
        of_scorer = worst.startswith("scorer ")
        return "mend the scorer, give it another identity" if of_scorer else "mend the input"

    def _hints(self) -> str:
        """Says what else was found in shards, which may be the reason."""
        return "".join(f"{describe(kind, found)}. " for kind, found in self.findings_by_kind().items() if found)

    def findings_by_kind(self) -> dict[str, list[dict[str, Any]]]:
        """The findings of each kind, as the manifest has them."""
        found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
        for one in sorted(self.findings):
            found[one.kind].append({"shard": one.url, "offset": one.offset, "first": one.key, "samples": one.samples})
        return found

    def _worst(self) -> str:
        """The commonest reasons of failures, and the first broken shard."""
        ordered = sorted(self.failed_by.items(), key=lambda item: (-item[1], item[0]))
        broken = [f"{error.url}: {error.reason}" for error in sorted(self.errors, key=lambda error: error.url)]
        reasons = [f"{count:,} x {reason}" for reason, count in ordered]
        return ", ".join(listed(told, shown=shown) for told, shown in ((reasons, 3), (broken, 1)) if told)


def _by_status(table: pa.Table) -> dict[str, collections.Counter[str]]:
    """Counts rows by status, and within it by kind of reason."""
    # Not grouped by Arrow, which complains on stderr of every table that came over a wire.
    reasons = pc.fill_null(table["reason"], "")
    outcomes = pc.value_counts(pc.binary_join_element_wise(table["status"], reasons, "\0")).to_pylist()
    by: dict[str, collections.Counter[str]] = {status: collections.Counter() for status in _STATUSES}
    for outcome in outcomes:
        status, _, reason = outcome["values"].partition("\0")
        by[status][reason_kind(status, reason)] += outcome["counts"]
    return by


def recount(table: pa.Table, spans: Mapping[str, Span]) -> Summary:
    """The counts of rows as the ledger has them, and when they were written: what is added up once more, since it may
    not be what was seen."""
    by = _by_status(table)
    kept = sum(by[rows.KEPT].values())
    unhashed, unedited = _lacking(table)
    return Summary(
        len(table), kept, by[rows.DROPPED], by[rows.FAILED], unhashed=unhashed, unedited=unedited, spans=spans
    )


def recounted(seen: Summary, ledger: Summary) -> Summary:
    """Takes the counts and spans of the ledger, and all else from what was seen."""
    spans = sum_spans([seen.spans, ledger.spans])
    names = ("seen", "kept", "dropped_by", "failed_by", "unhashed", "unedited")
    counts = {name: getattr(ledger, name) for name in names}
    return dataclasses.replace(seen, **counts, spans=spans)


def summarize(batch: SampleBatch) -> Summary:
    """The counts of one batch."""
    by = _by_status(batch.rows)
    unhashed, unedited = _lacking(batch.rows)
    return Summary(
        len(batch),
        sum(by[rows.KEPT].values()),
        by[rows.DROPPED],
        by[rows.FAILED],
        batch.errors,
        batch.batch_reductions,
        batch.judged,
        _outcomes(batch),
        collections.Counter(batch.passed_over),
        batch.findings,
        pc.sum(pc.greater(batch.rows["images"], 1)).as_py() or 0,
        Losses.of_range(batch.range, len(batch), batch.errors),
        unhashed,
        batch.fields or FieldsFound(),
        batch.spans,
        unedited,
    )


def _lacking(table: pa.Table) -> tuple[int, int]:
    """`Summary.unhashed` and `Summary.unedited`."""
    if "duplicate_kind" not in table.schema.names:
        return 0, 0
    competed = pc.or_(pc.equal(table["status"], rows.KEPT), table["duplicate_kind"].is_valid())
    unhashed, uncropped = (
        table[name].is_null() if name in table.schema.names else True for name in ("phash256", "phash256_cropped")
    )
    unedited = pc.and_(pc.and_not(competed, unhashed), uncropped)
    return pc.sum(pc.and_(competed, unhashed)).as_py() or 0, pc.sum(unedited).as_py() or 0


def _outcomes(batch: SampleBatch) -> int:
    """`Summary.outcomes` of one batch: the order in which batches are summed does not matter."""
    there = [name for name in _OF_DUPLICATES if name in batch.rows.schema.names]
    # The ledger has these columns always, a batch only where it was looked for duplicates: it is the same outcome.
    told_of = [name for name in there if batch.rows[name].null_count < len(batch)]
    told = hashlib.sha256(json.dumps([batch.range.name, told_models(batch.models), told_of], sort_keys=True).encode())
    for name in ("sample_id", "status", "reason", *told_of):
        _add_column(told, batch.rows[name])
    return int.from_bytes(told.digest(), "big") % _OUTCOMES


def _add_column(told: hashlib._Hash, column: pa.ChunkedArray) -> None:
    """Adds the values of a column to a hash: the length of each as text (-1: null), then all of them as one text."""
    texts = column.cast(pa.string()).combine_chunks()
    told.update(pc.binary_length(texts).fill_null(-1).to_numpy(zero_copy_only=False).astype("<i4").tobytes())
    whole = pa.ListArray.from_arrays(pa.array([0, len(texts)], pa.int32()), texts.fill_null(""))
    told.update(pc.binary_join(whole, "")[0].as_buffer())


_OF_DUPLICATES = ("duplicate_of", *rows.DUPLICATE.names)


def _add_finding(found: dict[tuple[str, str], Finding], one: Finding) -> None:
    """Keeps one finding of each kind for each shard: its first sample, and how many there are."""
    before = found.get((one.kind, one.url))
    if before is not None:
        one = dataclasses.replace(min(before, one), samples=before.samples + one.samples)
    found[one.kind, one.url] = one


_STATUSES = (rows.KEPT, rows.DROPPED, rows.FAILED)

_OUTCOMES = 1 << 128


def reason_kind(status: str, reason: str | None) -> str:
    """Makes the key that reasons are counted by. A failure's is without its details (what follows the colon, names in
    quotes, numbers), so that a shard cannot make a kind of each of its samples; a rule's is its name."""
    if status != rows.FAILED:
        return reason or ""
    return _NUMBER.sub("N", _QUOTED.sub("", reason or "").split(": ")[0])


_QUOTED = re.compile(r' ".*"', re.DOTALL)

_NUMBER = re.compile(r"\b\d[\dx]*\b")


class SummaryTotal:
    """A sum of summaries that is added to in place: its size is that of what is told, not of how many were added."""

    def __init__(self) -> None:
        self._counts: collections.Counter[str] = collections.Counter()
        self._counters = {name: collections.Counter[str]() for name in _COUNTERS}
        self._errors: list[ShardError] = []
        self._judged: dict[str, RuleTally] = {}
        self._outcomes = 0
        self._findings: dict[tuple[str, str], Finding] = {}
        self._losses = LossesTotal()
        self._fields = FieldsFound()
        self._spans: dict[str, Span] = {}

    def add(self, one: Summary) -> None:
        """Adds a summary."""
        for name in _COUNTS:
            self._counts[name] += getattr(one, name)
        for name, counter in self._counters.items():
            counter.update(getattr(one, name))
        self._errors += one.errors
        add_tallies(self._judged, one.judged)
        self._outcomes = (self._outcomes + one.outcomes) % _OUTCOMES
        for finding in one.findings:
            _add_finding(self._findings, finding)
        self._losses.add(one.losses)
        if one.fields != FieldsFound():
            self._fields += one.fields
        add_spans(self._spans, one.spans)

    @property
    def summary(self) -> Summary:
        """The sum of what was added."""
        return Summary(
            self._counts["seen"],
            self._counts["kept"],
            +self._counters["dropped_by"],
            +self._counters["failed_by"],
            batch_reductions=self._counts["batch_reductions"],
            passed_over=+self._counters["passed_over"],
            several_images=self._counts["several_images"],
            unhashed=self._counts["unhashed"],
            unedited=self._counts["unedited"],
            errors=tuple(self._errors),
            judged=dict(self._judged),
            outcomes=self._outcomes,
            findings=tuple(self._findings[key] for key in sorted(self._findings)),
            losses=self._losses.losses,
            fields=self._fields,
            spans=dict(self._spans),
        )


_COUNTS = ("seen", "kept", "batch_reductions", "several_images", "unhashed", "unedited")
_COUNTERS = ("dropped_by", "failed_by", "passed_over")


def check_balance(seen: Summary, ledger: Summary, written: int) -> None:
    """Raises JobError unless every sample that was seen is kept, dropped or failed in the ledger, for the same reasons,
    and kept ones are all in an output shard."""
    unlike = _unlike(seen, ledger)
    balanced = seen.seen == ledger.seen == ledger.kept + ledger.dropped + ledger.failed
    if unlike or not (balanced and seen.kept == ledger.kept == written):
        reasons = f"; of another number: {listed(unlike, shown=3)}" if unlike else ""
        raise JobError(
            f"the ledger does not balance: {seen.seen} samples seen, {ledger.seen} in the ledger "
            f"({ledger.kept} kept, {ledger.dropped} dropped, {ledger.failed} failed), {written} in output shards"
            f"{reasons}. This is a bug: please report it with manifest.json"
        )


def _unlike(seen: Summary, ledger: Summary) -> list[str]:
    """The reasons that the ledger has more or less often than they were seen, with both numbers."""
    both = [(seen.dropped_by, ledger.dropped_by), (seen.failed_by, ledger.failed_by)]
    return [
        f"{reason} ({before[reason]} seen, {now[reason]} in the ledger)"
        for before, now in both
        for reason in sorted(before.keys() | now.keys())
        if before[reason] != now[reason]
    ]
