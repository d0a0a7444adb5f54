"""How well a caption tells its image: the cosine of both embeddings, by the same CLIP model."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beam_curator.errors import CurationError, JobError, UsageError
from beam_curator.identities import ModelIdentity
from beam_curator.models.encoders.cpu_stream import core_pool
from beam_curator.models.encoders.precision import resolve_device
from beam_curator.models.encoders.text_tower import TextTower, check_text_half, load_text_tower
from beam_curator.models.scorers.scorer import EmbeddedCaptions, Scorer
from beam_curator.models.weights.weights_file import WeightsFile
from beam_curator.process_tuning import usable_cores

SIMILARITY = "similarity"

_TEXTS_AT_ONCE = {"cpu": 32, "cuda": 512}
"""In one pass of the text half. On the CPU their number may decide last bits, so that it is always the same."""


class Similarity(Scorer):
    """Gives the column `similarity`: cosine(image, caption), from -1 to 1, as DataComp and LAION have it.

    The image's embedding is the one that is stored, the caption's is computed by the text half of the same model: in
    fp32 on the CPU, in fp16 on a GPU. A caption that is longer than the model reads (77 tokens) is cut, as by
    open_clip. A sample without a caption, or with an empty one, has none.

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
            check_text_half(model, weights.path if weights else None)
        except UsageError as error:
            raise UsageError(f"--similarity: {error}") from error
        self.dim, self.encoder = dim, encoder
        self.source = weights.path if weights else None
        self._model, self._weights, self._tag, self._device = model, weights, pretrained_tag, device
        self._tower: TextTower | None = None
        self._cores: ThreadPoolExecutor | None = None

    @property
    def identity(self) -> ModelIdentity:
        """What gives the column: other weights are another model."""
        weights = self._weights
        name, sha256 = (weights.name, weights.model_sha256) if weights else (self._model, None)
        return ModelIdentity(f"{SIMILARITY} ({name})", sha256, trained=weights is not None)

    def complaint(self, encoder: ModelIdentity | None) -> str | None:
        """What is wrong with it on the embeddings of this encoder, if anything is, in one line."""
        if encoder is None or (encoder.name, encoder.sha256) == (self.encoder.name, self.encoder.sha256):
            return None
        return f"{SIMILARITY}: captions are embedded by {self.encoder}, and images by {encoder}: give it the same model"

    def load(self) -> None:
        """Reads the text half of the weights, and takes the device.

        Raises:
          JobError: they cannot be had on this worker.
        """
        try:
            device = resolve_device(self._device)
            checkpoint = str(self._weights.local_path()) if self._weights else None
            self._tower = load_text_tower(self._model, checkpoint, self._tag, precise=False, device=device)
        except CurationError as error:
            raise JobError(f"{SIMILARITY}: {error}") from error
        if device == "cpu":
            self._cores = core_pool(usable_cores())

    def __call__(self, batch: EmbeddedCaptions) -> NDArray[np.float32]:
        """Scores pairs: float32 [n]; NaN where an embedding is all zeros.

        Computed in float64 from both vectors, and rounded once.
        """
        images = batch.embeddings.astype(np.float64)
        texts = self._encode(batch.captions).astype(np.float64)
        lengths = np.sqrt(np.einsum("nd,nd->n", images, images) * np.einsum("nd,nd->n", texts, texts))
        with np.errstate(invalid="ignore", divide="ignore"):
            return (np.einsum("nd,nd->n", images, texts) / lengths).astype(np.float32)

    def _encode(self, captions: Sequence[str]) -> NDArray[np.float32]:
        tower = self._tower
        if tower is None:
            raise AssertionError("never called before it is loaded")
        size = _TEXTS_AT_ONCE[tower.device]
        pieces = [captions[start : start + size] for start in range(0, len(captions), size)]
        encode = functools.partial(tower.encode, cut=True)
        return np.concatenate(list(self._cores.map(encode, pieces) if self._cores else map(encode, pieces)))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tower": None, "_cores": None}
