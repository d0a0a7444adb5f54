"""`ModelIdentity`: which model with which weights gave an embedding or a score."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

AUTO_PRECISION = "auto"
"""The precision of a model that was not loaded yet, where its worker is to choose."""


@dataclasses.dataclass(frozen=True, order=True)
class ModelIdentity:
    """The identity of a model, with all that decides its numbers: models with equal identities give the same numbers.

    Attributes:
      name: name for people, such as "ViT-L-14-quickgelu/openai".
      sha256: SHA-256 of the file of its weights, 64 hex digits; None where there is no file.
      trained: False for random weights, whose scores mean nothing.
      notes: other things that decide the numbers or that a reader of them has to know, such as "approximate", in a
        fixed order.
      precision: number format that a neural network computed in: "fp32", "bf16" or "fp16"; "auto" until a worker has
        chosen it; None for a model that has no choice, and for numbers of a release that did not record it.
      member: for an encoder, the middle of the name `KEY.<member>.npy` of its embeddings in output shards: "clip", or
        the encoder's own name; else None.
    """

    name: str
    sha256: str | None = None
    trained: bool = True
    notes: tuple[str, ...] = ()
    precision: str | None = None
    member: str | None = None

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> ModelIdentity:
        """The inverse of `told`."""
        return cls(**{**told, "notes": tuple(told.get("notes", ()))})

    @property
    def as_json(self) -> dict[str, Any]:
        """The identity as JSON, as it stands in manifests and in `KEY.curation.json`."""
        told = {"name": self.name, "sha256": self.sha256, "trained": self.trained, "notes": list(self.notes)}
        more = {"precision": self.precision, "member": self.member}
        return told | {name: value for name, value in more.items() if value is not None}

    def with_notes(self, *notes: str) -> ModelIdentity:
        """The same with more notes."""
        return dataclasses.replace(self, notes=(*self.notes, *notes))

    def gives(self, other: ModelIdentity) -> bool:
        """Tells whether numbers by `other` are those that this model was asked to give: all fields are equal, except
        that the precision "auto" stands for any, also for one that was not recorded."""
        if self.precision == AUTO_PRECISION:
            return dataclasses.replace(self, precision=other.precision) == other
        return self == other

    def resolved(self, precision: str | None) -> ModelIdentity:
        """The same model with the precision that "auto" became on a worker.

        Args:
          precision: of the worker; None where it computed nothing. Then, and where the precision is not "auto", the
            identity stays as it is.
        """
        if self.precision != AUTO_PRECISION or precision is None:
            return self
        return dataclasses.replace(self, precision=precision)

    def __str__(self) -> str:
        weights = f" sha256:{self.sha256}" if self.sha256 else ""
        precision = f"precision {self.precision}" if self.precision else ""
        untrained = "" if self.trained else "untrained: scores mean nothing"
        return ", ".join([f"{self.name}{weights}", *(text for text in (precision, *self.notes, untrained) if text)])


def fault_of(model: Any) -> str | None:
    """Says in one line what is wrong with the `sha256`, `trained`, `notes` or `precision` of a user's model; None if
    all have the types of `ModelIdentity`, which lets them be written as JSON and compared with what is read back."""
    if model.sha256 is not None and not isinstance(model.sha256, str):
        return f"sha256={model.sha256!r}: give text, or None"
    if not isinstance(model.trained, bool):
        return f"trained={model.trained!r}: give True or False"
    if not isinstance(model.notes, tuple) or not all(isinstance(note, str) for note in model.notes):
        return f"notes={model.notes!r}: give a tuple of texts"
    precision = getattr(model, "precision", None)
    if precision is not None and not isinstance(precision, str):
        return f"precision={precision!r}: give text, such as 'fp32', or None"
    return None


def told_models(models: Mapping[str, ModelIdentity]) -> dict[str, dict[str, Any]]:
    """The models of steps, as JSON."""
    return {step: model.as_json for step, model in models.items()}


def models_of(told: Mapping[str, Mapping[str, Any]]) -> dict[str, ModelIdentity]:
    """The inverse of `told_models`."""
    return {step: ModelIdentity.of(one) for step, one in told.items()}


def joined_models(some: Iterable[Mapping[str, ModelIdentity]]) -> dict[str, ModelIdentity]:
    """The models of steps, from those of several batches of one job. Where a batch had nothing to compute, its
    precision is still "auto": it takes the precision of another batch."""
    found: dict[str, ModelIdentity] = {}
    for models in some:
        for step, model in models.items():
            found[step] = found[step].resolved(model.precision) if step in found else model
    return found
