"""Sums up what the end of a job has to know of all ranges and of all output shards, in fixed size."""

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
MIXED_NOTES = MIXED_EMBEDDINGS, MIXED_VALUES = "embeddings of different precision", "values of different precision"
"""The notes of an encoder, and of a scorer, in the manifest of a job whose ranges do not all have the same
precision."""

_NOT_RECORDED = "not recorded"


class ModelsTotal:
    """The models of ranges, added up in any order. Where ranges tell a step otherwise, the first in the order of JSON
    is taken."""

    def __init__(self) -> None:
        self._models: dict[str, dict[str, ModelIdentity]] = {}  # of each step by precision
        self._ranges: dict[str, collections.Counter[str]] = {}

    def add(self, models: Mapping[str, ModelIdentity]) -> None:
        """Adds those of a range."""
        for step, model in models.items():
            precision = model.precision or _NOT_RECORDED
            _add(self._models.setdefault(step, {}), {precision: model})
            self._ranges.setdefault(step, collections.Counter())[precision] += 1

    def add_all(self, other: ModelsTotal) -> None:
        """Adds those that another one has."""
        for step, models in other._models.items():
            _add(self._models.setdefault(step, {}), models)
            self._ranges.setdefault(step, collections.Counter()).update(other._ranges[step])

    @property
    def models(self) -> dict[str, ModelIdentity]:
        """The models of the job, by step. Where ranges were computed with different precision, the model's is "mixed",
        with a note of how many ranges each has."""
        return {step: self._model(step) for step in self._models}

    def _model(self, step: str) -> ModelIdentity:
        found = self._models[step]
        known = {precision: model for precision, model in found.items() if precision != AUTO_PRECISION}
        model = _first((known or found).values())  # a range with nothing to compute has none
        if len(known) < 2:
            return model
        ranges = self._ranges[step]
        counts = ", ".join(f"{counted(ranges[precision], 'range')} {precision}" for precision in sorted(known))
        note = MIXED_EMBEDDINGS if step == EMBEDDING_STEP else MIXED_VALUES
        return dataclasses.replace(model, precision=MIXED_PRECISION).with_notes(f"{note}: {counts}")


def _add(known: dict[str, ModelIdentity], models: Mapping[str, ModelIdentity]) -> None:
    for name, model in models.items():
        before = known.setdefault(name, model)
        if before != model:
            known[name] = _first((before, model))


def _first(models: Iterable[ModelIdentity]) -> ModelIdentity:
    return min(models, key=lambda model: json.dumps(model.as_json, sort_keys=True))


class LedgerTotal:
    """The sum of what all files of the ledger hold.

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
        """The models of the job, as `ModelsTotal.models`."""
        return self._models.models

    @property
    def readings(self) -> list[Reading]:
        """The ways in which ranges were read."""
        return sorted(self._readings)


class WrittenTotal:
    """The sum of what all output shards hold.

    Attributes:
      shards: number of output shards.
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
