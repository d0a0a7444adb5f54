"""Heads as scorers: small models that turn an embedding into one number."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from beam_curator.defaults import UNTRAINED
from beam_curator.errors import CurationError, UsageError
from beam_curator.given_paths import named, named_if_any
from beam_curator.identities import ModelIdentity
from beam_curator.models.heads.aesthetic import AestheticHead
from beam_curator.models.heads.head import VIT_L_14_WIDTH
from beam_curator.models.heads.made_for import ANY_ENCODER, MadeFor
from beam_curator.models.heads.nsfw import APPROXIMATE_SUFFIXES, NsfwHead
from beam_curator.models.heads.untrained import UntrainedHead
from beam_curator.models.scorers.scorer import Column, Scorer, Worse
from beam_curator.models.weights.published import HEADS
from beam_curator.models.weights.resolving import resolve_aesthetic, resolve_nsfw
from beam_curator.models.weights.weights_file import WeightsFile

Head = Callable[[np.ndarray], np.ndarray]
"""A function from embeddings, float16 [n, dim], L2-normalised, to scores, float32 [n]."""

AESTHETIC, NSFW = "aesthetic", "nsfw"

APPROXIMATE = "approximate: without the vocabularies of the original model, scores differ from it by up to 0.4"


@dataclasses.dataclass
class HeadScorer(Scorer):
    """Scores embeddings with a head, such as `HeadScorer("warmth", lambda: my_head)`.

    Attributes:
      name: name of the score's column.
      make: makes the head (a function from float16 [n, dim] to float32 [n]); called on the worker.
      model: identity of the head; scores by another identity are computed anew. By default its name alone, so give one
        if the head may ever change.
      worse: whether "lower" or "higher" scores are the worse ones.
      made_for: the embeddings that the head takes; by default any.
      source: where its weights come from, for people.
      parallel: whether the head may be called from several threads at once.
    """

    name: str
    make: Callable[[], Head]
    model: ModelIdentity | None = None
    worse: Worse = "lower"
    made_for: MadeFor = ANY_ENCODER
    source: str | None = None
    parallel: bool = False

    @property
    def columns(self) -> Sequence[Column]:
        return (Column(self.name, worse=self.worse),)

    @property
    def identity(self) -> ModelIdentity:
        return self.model or ModelIdentity(self.name)

    def load(self) -> None:
        self._head = self.make()

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return self._head(batch)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_head"}


def aesthetic_scorer(
    weights: str | os.PathLike[str] = "v2",
    model_dir: str | os.PathLike[str] | None = None,
    *,
    accept_other_encoder: bool = False,
) -> HeadScorer:
    """Makes the scorer of how pleasing an image is, about 1 to 10, by LAION's aesthetic predictors.

    Args:
      weights: "v2" (sac+logos+ava1-l14-linearMSE), "v1" (sa_0_4_vit_l_14_linear), a path, or "untrained".
      model_dir: where weights are looked for first, local or in a bucket.
      accept_other_encoder: whether a published head may score the embeddings of another encoder than OpenAI's CLIP
        ViT-L/14, which it was made for. The scores may mean nothing, and their identity says so.

    Raises:
      UsageError: when the weights cannot be had.
    """
    weights, model_dir = named(weights, "weights"), named_if_any(model_dir, "model_dir")
    if weights == UNTRAINED:
        return HeadScorer(AESTHETIC, _UntrainedLoader("aesthetic", 1.0, 10.0), UNTRAINED_HEAD, parallel=True)
    found = resolve_aesthetic(weights, model_dir)
    made_for = _made_for(found, accept_other_encoder)
    return HeadScorer(AESTHETIC, _AestheticLoader(found), found.identity, "lower", made_for, found.path, parallel=True)


def nsfw_scorer(
    weights: str | os.PathLike[str] = "laion",
    model_dir: str | os.PathLike[str] | None = None,
    *,
    accept_other_encoder: bool = False,
) -> HeadScorer:
    """Makes the scorer of how likely an image is not safe for work, 0 to 1, by LAION's CLIP-based detector.

    Args:
      weights: "laion" (clip_autokeras_binary_nsfw), a path (.zip, .npz or .pth), or "untrained". A .pth, in the layout
        of the PyTorch ports, only approximates the model, and its identity says so.
      model_dir: as of `aesthetic_scorer`.
      accept_other_encoder: as of `aesthetic_scorer`.

    Raises:
      UsageError: when the weights cannot be had.
    """
    weights, model_dir = named(weights, "weights"), named_if_any(model_dir, "model_dir")
    if weights == UNTRAINED:
        untrained = _UntrainedLoader("nsfw-untrained", 0.0, 1.0)
        return HeadScorer(NSFW, untrained, UNTRAINED_HEAD, "higher", parallel=True)
    found = resolve_nsfw(weights, model_dir)
    approximates = found.path.lower().endswith(APPROXIMATE_SUFFIXES)
    identity = found.identity.with_notes(APPROXIMATE) if approximates else found.identity
    made_for = _made_for(found, accept_other_encoder)
    return HeadScorer(NSFW, _NsfwLoader(found), identity, "higher", made_for, found.path, parallel=True)


UNTRAINED_HEAD = ModelIdentity("untrained", trained=False)


def try_head(scorer: Scorer) -> None:
    """Loads a head of the user's own once, so that a file that is none is found before any work.

    Raises:
      UsageError: for a file that is not a head.
    """
    if not isinstance(scorer, HeadScorer) or scorer.source is None or scorer.made_for.published:
        return
    try:
        scorer.make()
    except CurationError as error:
        raise UsageError(str(error)) from error


def _made_for(weights: WeightsFile, accept_other: bool) -> MadeFor:
    """Says what encoder a head of LAION's layouts takes; a published head is known by its sha256, under any name."""
    return MadeFor(VIT_L_14_WIDTH, weights.model_sha256 in {head.sha256 for head in HEADS}, accept_other)


@dataclasses.dataclass(frozen=True)
class _AestheticLoader:
    weights: WeightsFile

    def __call__(self) -> Head:
        return AestheticHead.load(self.weights.local_path())


@dataclasses.dataclass(frozen=True)
class _NsfwLoader:
    weights: WeightsFile

    def __call__(self) -> Head:
        return NsfwHead.load(self.weights.local_path())


@dataclasses.dataclass(frozen=True)
class _UntrainedLoader:
    name: str
    low: float
    high: float

    def __call__(self) -> Head:
        return UntrainedHead(self.name, self.low, self.high)
