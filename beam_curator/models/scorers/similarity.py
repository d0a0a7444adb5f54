"""Scores how well a caption tells its image: the cosine of both embeddings, by the same CLIP model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from beam_curator.identities import ModelIdentity
from beam_curator.models.encoders.caption_encoder import Captions
from beam_curator.models.scorers.scorer import EmbeddedCaptions, Scorer
from beam_curator.models.scorers.text_embedding import TextEmbedding

SIMILARITY = "similarity"


class Similarity(Scorer):
    """Gives the column `similarity`: cosine(image, caption), from -1 to 1, as DataComp and LAION have it.

    Both embeddings are those that are stored, or that would be: of float16, so that the score is the same whether the
    caption's is kept or not. A sample without a caption, or with an empty one, has none.

    Args:
      texts: what embeds captions.
      encoder: what the images' embeddings are of.
    """

    name = SIMILARITY
    needs = "embedding+caption"

    def __init__(self, texts: TextEmbedding, encoder: ModelIdentity) -> None:
        self.texts, self.encoder = texts, encoder
        self.dim, self.source = texts.dim, texts.source

    @property
    def identity(self) -> ModelIdentity:
        """The identity of the column: with other weights it is another model."""
        return self.texts.identity_as(SIMILARITY)

    def complaint(self, encoder: ModelIdentity | None) -> str | None:
        """Says in one line why its scores mean nothing on the embeddings of this encoder; None if they do."""
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
