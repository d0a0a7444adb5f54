"""Describes what a job computes of a range, step by step: its embeddings, and each scorer's columns.

An embedding is known by its range and its encoder; a scorer's columns by what they were computed from and the scorer.
So what one step gave stays good when another step changes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from beam_curator import rows
from beam_curator.identities import ModelIdentity
from beam_curator.models.scorers.scorer import ON_EMBEDDINGS, Column, Needs, Scorer

EMBEDDING_STEP = "embedding"
"""The name of the step that embeds, in batches and manifests."""


JPEG_DRAFT = "JPEG draft"
"""The note of an encoder of an earlier release that decoded large JPEGs at a smaller scale: other pixels, and facts."""


@dataclasses.dataclass(frozen=True)
class ScoreStep:
    """One scorer, as score parts and job.json know it.

    Attributes:
      name: name of the scorer.
      identity: identity of its model; what a job wants may have the precision "auto", which any satisfies.
      needs: what it computes from (`Scorer.needs`).
      columns: the columns that it gives.
    """

    name: str
    identity: ModelIdentity
    needs: Needs
    columns: tuple[Column, ...]

    @classmethod
    def of(cls, scorer: Scorer, identity: ModelIdentity | None = None) -> ScoreStep:
        """A scorer's step; `identity` is what it is beside its encoder, if that matters."""
        return cls(scorer.name, identity or scorer.identity, scorer.needs, tuple(scorer.columns))

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> ScoreStep:
        """The inverse of `told`."""
        columns = tuple(Column(**column) for column in told["columns"])
        return cls(told["name"], ModelIdentity.of(told["identity"]), told["needs"], columns)

    @property
    def as_json(self) -> dict[str, Any]:
        """The content as JSON."""
        columns = [dataclasses.asdict(column) for column in self.columns]
        return {"name": self.name, "identity": self.identity.as_json, "needs": self.needs, "columns": columns}

    def gives(self, other: ScoreStep) -> bool:
        """Tells whether the other is this one, as far as is known: see `ModelIdentity.gives`."""
        return dataclasses.replace(self, identity=other.identity) == other and self.identity.gives(other.identity)

    def resolved(self, models: Mapping[str, ModelIdentity]) -> ScoreStep:
        """The same with the precision in which it was computed, by the models of a batch."""
        model = models.get(self.name)
        return self if model is None else dataclasses.replace(self, identity=self.identity.resolved(model.precision))

    def computed_from(self, encoder: ModelIdentity) -> dict[str, Any]:
        """Tells what its values depend on beside the range and itself, as JSON has it."""
        if self.needs in ON_EMBEDDINGS:
            return encoder.as_json
        return {} if self.needs == "caption" else {"decoding": [note for note in encoder.notes if note == JPEG_DRAFT]}


@dataclasses.dataclass(frozen=True)
class Wanted:
    """The encoder and the scorers that a job wants of each range.

    Attributes:
      encoder: the encoder; its precision may be "auto", which any precision satisfies.
      steps: the scorers, in the order of their columns.
    """

    encoder: ModelIdentity
    steps: tuple[ScoreStep, ...] = ()

    @property
    def models(self) -> dict[str, ModelIdentity]:
        """Step to the identity of its model."""
        return {EMBEDDING_STEP: self.encoder, **{step.name: step.identity for step in self.steps}}


def arranged(table: pa.Table, steps: Sequence[ScoreStep]) -> pa.Table:
    """Rows with the columns of these scorers in their order, the same whenever each was computed; then those that no
    scorer gave, but a step of the user's own."""
    due = [column.name for step in steps for column in step.columns]
    due += [rows.failure_column(step.name) for step in steps]
    facts = [field.name for field in rows.fields_there(table.schema)]
    others = [name for name in table.schema.names if name not in due and name not in facts]
    there = [name for name in (*facts, *due, *others) if name in table.schema.names]
    return table.select(there)


def fields_of(steps: Sequence[ScoreStep]) -> list[pa.Field]:
    """The columns that these scorers give, and those that say what they failed on."""
    scores = [
        rows.field_of(column.name, rows.SCORE_TYPES[column.type], rows.SCORE)
        for step in steps
        for column in step.columns
    ]
    return scores + [rows.field_of(rows.failure_column(step.name), pa.string(), rows.INTERNAL) for step in steps]


def without_steps(table: pa.Table, steps: Sequence[ScoreStep]) -> pa.Table:
    """Rows without what these scorers gave."""
    gone = {name for step in steps for name in (*(c.name for c in step.columns), rows.failure_column(step.name))}
    return table.select([name for name in table.schema.names if name not in gone])
