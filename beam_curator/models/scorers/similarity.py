"""How well a caption tells its image: the cosine of both embeddings, by the same CLIP model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from beam_curator.errors import UsageError
from beam_curator.identities import ModelIdentity
from beam_curator.models.encoders.caption_encoder import Captions
from beam_curator.models.scorers.scorer import EmbeddedCaptions, Scorer
from beam_curator.models.scorers.text_embedding import TextEmbedding
from beam_curator.models.weights.weights_file import WeightsFile

SIMILARITY = "similarity"


class Similarity(Scorer):
    """Gives the column `similarity`: cosine(image, caption), from -1 to 1, as DataComp and LAION have it.

    Both embeddings are those that are stored, or that would be: of float16, so that the score is the same whether the
    caption's is kept or not. A sample without a caption, or with an empty one, has none.

    Args:
      model: the open_clip architecture that embeds the images, or "tiny-untrained".
      weights: its weights; None for "tiny-untrained".
      pretrained_tag: the open_clip tag that they were published under; None for a checkpoint of unknown origin.
      encoder: what the images' embeddings are of.
      dim: length of these embeddings.
      device: "auto", "cpu" or "cuda".

    Raises:
      UsageError: a model that has no text half, or none that can be had here.
    """

    name = SIMILARITY
    needs = "embedding+caption"

    def __init__(
        self,
        model: str,
        weights: WeightsFile | None,
        pretrained_tag: str | None,
        *,
        encoder: ModelIdentity,
        dim: int,
        device: str = "auto",
    ) -> None:
        try:
            self.texts = TextEmbedding(model, weights, pretrained_tag, dim=dim, device=device)
        except UsageError as error:
            raise UsageError(f"--similarity: {str(error).removeprefix('text embeddings: ')}") from error
        self.dim, self.encoder = dim, encoder
        self.source = self.texts.source
        self._model, self._weights = model, weights

    @property
    def identity(self) -> ModelIdentity:
        """What gives the column: other weights are another model."""
        name, sha256 = (self._weights.name, self._weights.model_sha256) if self._weights else (self._model, None)
        return ModelIdentity(f"{SIMILARITY} ({name})", sha256, trained=self._weights is not None)

    def complaint(self, encoder: ModelIdentity | None) -> str | None:
        """What is wrong with it on the embeddings of this encoder, if anything is, in one line."""
        if encoder is None or (encoder.name, encoder.sha256) == (self.encoder.name, self.encoder.sha256):
            return None
        return f"{SIMILARITY}: captions are embedded by {self.encoder}, and images by {encoder}: give it the same model"

    def __call__(self, batch: EmbeddedCaptions) -> NDArray[np.float32]:
        """Scores pairs: float32 [n]; NaN where an embedding is all zeros.

        Computed in float64 from both vectors, and rounded once.
        """
        texts = self.texts(Captions(batch.captions)) if batch.texts is None else batch.texts
        images, texts = batch.embeddings.astype(np.float64), texts.astype(np.float64)
        lengths = np.sqrt(np.einsum("nd,nd->n", images, images) * np.einsum("nd,nd->n", texts, texts))
        with np.errstate(invalid="ignore", divide="ignore"):
            return (np.einsum("nd,nd->n", images, texts) / lengths).astype(np.float32)
