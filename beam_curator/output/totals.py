"""What the end of a job has to know of all ranges and of all output shards: sums, of fixed size."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Iterable, Mapping

from beam_curator.first_few import counted
from beam_curator.identities import AUTO_PRECISION, ModelIdentity
from beam_curator.output.ledger import LedgerPart
from beam_curator.output.outcomes import Summary, SummaryTotal
from beam_curator.output.output_shard import WrittenShard
from beam_curator.output.score_steps import EMBEDDING_STEP
from beam_curator.phases import Span, add_spans
from beam_curator.reading import Reading

MIXED_PRECISION = "mixed"
MIXED_NOTE = "embeddings of different precision"
"""What an encoder notes in the manifest of a job whose ranges do not all have the same precision."""


class ModelsTotal:
    """The models of ranges, added up in any order. Where ranges tell a step otherwise, the first in the order of JSON
    is taken."""

    def __init__(self) -> None:
        self._models: dict[str, ModelIdentity] = {}
        self._encoders: dict[str, ModelIdentity] = {}
        self._precisions: collections.Counter[str] = collections.Counter()

    def add(self, models: Mapping[str, ModelIdentity]) -> None:
        """Adds those of a range."""
        _add(self._models, models)
        encoder = models.get(EMBEDDING_STEP)
        if encoder is not None and encoder.precision not in (None, AUTO_PRECISION):
            self._precisions[encoder.precision] += 1
            _add(self._encoders, {encoder.precision: encoder})

    def add_all(self, other: ModelsTotal) -> None:
        """Adds those that another one has."""
        _add(self._models, other._models)
        _add(self._encoders, other._encoders)
        self._precisions.update(other._precisions)

    @property
    def models(self) -> dict[str, ModelIdentity]:
        """Those of the job. Where ranges were embedded with different precision, the encoder's is "mixed", with a note
        of how many ranges each has."""
        models = dict(self._models)
        if self._encoders:  # a range without an image has none
            models[EMBEDDING_STEP] = known = _first(self._encoders.values())
        if len(self._precisions) > 1:
            ordered = sorted(self._precisions.items())
            counts = ", ".join(f"{counted(count, 'range')} {precision}" for precision, count in ordered)
            encoder = dataclasses.replace(known, precision=MIXED_PRECISION)
            models[EMBEDDING_STEP] = encoder.with_notes(f"{MIXED_NOTE}: {counts}")
        return models


def _add(known: dict[str, ModelIdentity], models: Mapping[str, ModelIdentity]) -> None:
    for name, model in models.items():
        before = known.setdefault(name, model)
        if before != model:
            known[name] = _first((before, model))


def _first(models: Iterable[ModelIdentity]) -> ModelIdentity:
    return min(models, key=lambda model: json.dumps(model.told, sort_keys=True))


class LedgerTotal:
    """What all files of the ledger hold together.

    Attributes:
      ranges_per_file: how many ranges each of them holds.
    """

    def __init__(self) -> None:
        self._summary, self._models = SummaryTotal(), ModelsTotal()
        self._readings: set[Reading] = set()
        self.ranges_per_file = 1

    def add(self, part: LedgerPart) -> None:
        """Adds what was written of a range."""
        self._summary.add(part.summary)
        self._models.add(part.models)
        self._readings.add(part.reading)
        self.ranges_per_file = max(self.ranges_per_file, part.ranges_per_file)

    def add_all(self, other: LedgerTotal) -> None:
        """Adds what another one has."""
        self._summary.add(other.summary)
        self._models.add_all(other._models)
        self._readings |= other._readings
        self.ranges_per_file = max(self.ranges_per_file, other.ranges_per_file)

    @property
    def summary(self) -> Summary:
        """The counts of all."""
        return self._summary.summary

    @property
    def models(self) -> dict[str, ModelIdentity]:
        """As `ModelsTotal.models`."""
        return self._models.models

    @property
    def readings(self) -> list[Reading]:
        """The ways in which ranges were read."""
        return sorted(self._readings)


class WrittenTotal:
    """What all output shards hold together.

    Attributes:
      shards: how many there are.
      samples: how many are in them.
      bytes: of their tars.
      members: of how many samples each extension is a member.
      spans: when they were written.
    """

    def __init__(self) -> None:
        self.shards = self.samples = self.bytes = 0
        self.members: collections.Counter[str] = collections.Counter()
        self.spans: dict[str, Span] = {}

    def add(self, one: WrittenShard) -> None:
        """Adds an output shard."""
        self.shards += 1
        self.samples += one.samples
        self.bytes += one.bytes
        self.members.update(one.members)
        add_spans(self.spans, one.spans)

    def add_all(self, other: WrittenTotal) -> None:
        """Adds what another one has."""
        self.shards += other.shards
        self.samples += other.samples
        self.bytes += other.bytes
        self.members.update(other.members)
        add_spans(self.spans, other.spans)
