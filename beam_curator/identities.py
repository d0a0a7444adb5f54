"""What gave a number: the model, its weights, and what must be said wherever its numbers show."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

AUTO_PRECISION = "auto"
"""The precision of a model that was not loaded yet, where its worker is to choose."""


@dataclasses.dataclass(frozen=True, order=True)
class ModelIdentity:
    """What tells a model from all others: two that are equal give the same numbers.

    Attributes:
      name: what people call it, such as "ViT-L-14-quickgelu/openai".
      sha256: of the file of its weights, 64 hex digits; None where there is no file.
      trained: whether its numbers mean anything.
      notes: what else decides its numbers, or has to be known of them, such as "approximate"; in a fixed order.
      precision: what a neural network computes in, as resolved on the worker that computed: "fp32", "bf16" or "fp16";
        "auto" before that; None of a model that has one way only, or of numbers of a release that did not record it.
      member: of an encoder, what comes between `KEY.` and `.npy` for its embeddings: "clip", or its own name.
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
    def told(self) -> dict[str, Any]:
        """As manifests and `KEY.curation.json` have it."""
        told = {"name": self.name, "sha256": self.sha256, "trained": self.trained, "notes": list(self.notes)}
        more = {"precision": self.precision, "member": self.member}
        return told | {name: value for name, value in more.items() if value is not None}

    def with_notes(self, *notes: str) -> ModelIdentity:
        """The same with more notes."""
        return dataclasses.replace(self, notes=(*self.notes, *notes))

    def gives(self, other: ModelIdentity) -> bool:
        """Whether the other is this one, as far as is known: "auto" may have become any precision, also one that was
        not recorded; by its name a precision is asked for alone."""
        if self.precision == AUTO_PRECISION:
            return dataclasses.replace(self, precision=other.precision) == other
        return self == other

    def resolved(self, precision: str | None) -> ModelIdentity:
        """The same with what "auto" became; itself where no precision was left open, or nothing was computed (None)."""
        if self.precision != AUTO_PRECISION or precision is None:
            return self
        return dataclasses.replace(self, precision=precision)

    def __str__(self) -> str:
        weights = f" sha256:{self.sha256}" if self.sha256 else ""
        precision = f"precision {self.precision}" if self.precision else ""
        untrained = "" if self.trained else "untrained: scores mean nothing"
        return ", ".join([f"{self.name}{weights}", *(text for text in (precision, *self.notes, untrained) if text)])


def fault_of(model: Any) -> str | None:
    """What is wrong with the `sha256`, `trained`, `notes` or `precision` of an identity, or of a model that has them;
    None for nothing. They are written as JSON, and compared with what was read of it."""
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
    """Steps and their models, as JSON has them."""
    return {step: model.told for step, model in models.items()}


def models_of(told: Mapping[str, Mapping[str, Any]]) -> dict[str, ModelIdentity]:
    """The inverse of `told_models`."""
    return {step: ModelIdentity.of(one) for step, one in told.items()}


def joined_models(some: Iterable[Mapping[str, ModelIdentity]]) -> dict[str, ModelIdentity]:
    """Steps and their models of what has them all: a precision that one of them tells is that of the others, in which
    there was nothing to compute."""
    found: dict[str, ModelIdentity] = {}
    for models in some:
        for step, model in models.items():
            found[step] = found[step].resolved(model.precision) if step in found else model
    return found
