"""Embeddings of captions, kept beside those of images: what `similarity` and other comparisons are computed from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from beam_curator.errors import UsageError
from beam_curator.identities import AUTO_PRECISION, ModelIdentity
from beam_curator.models.encoders.caption_encoder import CaptionEncoder, Captions, CaptionTokeniser
from beam_curator.models.encoders.text_tower import check_text_half
from beam_curator.models.scorers.scorer import TEXT_EMBEDDING, VectorScorer
from beam_curator.models.weights.weights_file import WeightsFile


class TextEmbedding(VectorScorer):
    """Gives an embedding of each caption, by the text tower of the model that embeds the images: float16, normalised.

    A caption that is longer than the model reads is cut, as by open_clip. A sample without a caption, or with an empty
    one, has none.

    Args:
      model: the open_clip architecture that embeds the images, or "tiny-untrained".
      weights: its weights; None for "tiny-untrained".
      pretrained_tag: the open_clip tag that they were published under; None for a checkpoint of unknown origin.
      dim: length of an embedding.
      device: "auto", "cpu" or "cuda".
      precision: "auto" (fp16 on a GPU, else fp32), "fp32", "bf16" or "fp16".

    Raises:
      UsageError: a model that has no text tower, or none that can be had here.
    """

    name = TEXT_EMBEDDING
    needs = "caption"

    def __init__(
        self,
        model: str,
        weights: WeightsFile | None,
        pretrained_tag: str | None,
        *,
        dim: int,
        device: str = "auto",
        precision: str = AUTO_PRECISION,
    ) -> None:
        try:
            check_text_half(model, weights.path if weights else None)
        except UsageError as error:
            raise UsageError(f"text embeddings: {error}") from error
        self.dim = dim
        self.source = weights.path if weights else None
        self._model, self._weights, self._precision_asked = model, weights, precision
        self._encoder = CaptionEncoder(model, weights, pretrained_tag, device, precision)

    @property
    def identity(self) -> ModelIdentity:
        """The identity of the model that embeds captions; its precision is as it was asked for."""
        return self.identity_as(TEXT_EMBEDDING)

    def identity_as(self, step: str) -> ModelIdentity:
        """The identity of what a step makes of the embeddings by itself."""
        name, sha256 = (self._weights.name, self._weights.model_sha256) if self._weights else (self._model, None)
        return ModelIdentity(
            f"{step} ({name})", sha256, trained=self._weights is not None, precision=self._precision_asked
        )

    @property
    def precision(self) -> str | None:  # type: ignore[override]  # nobody sets it: loading does
        """The precision in which the text tower computes; None before loading."""
        return self._encoder.precision

    @property
    def tokenise(self) -> CaptionTokeniser:
        """The tokeniser of captions, for use ahead of a call."""
        return self._encoder.tokenise

    def load(self) -> None:
        """Reads the text tower of the weights, and takes the device.

        Raises:
          JobError: they cannot be had on this worker.
        """
        self._encoder.load()

    def __call__(self, batch: Captions) -> NDArray[np.float16]:
        """Embeds captions: float16 [n, dim]."""
        return self._encoder.encode(batch)
