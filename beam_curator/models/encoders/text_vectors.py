"""Vectors of texts, kept between runs: a job that is run again with other thresholds loads no model for its prompts."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import json
import logging
import pathlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from beam_curator.errors import CurationError, UsageError
from beam_curator.models.encoders.text_tower import TextTower, load_text_tower
from beam_curator.models.weights import transfer
from beam_curator.models.weights.weights_file import WeightsFile, cache_dir

_logger = logging.getLogger(__name__)

_LAYOUT = 1
"""Goes up when other vectors are to be computed of the same texts and weights."""


@dataclasses.dataclass(frozen=True)
class TextVectors:
    """The vectors that a model makes of some texts.

    Attributes:
      vectors: float32 [texts, dim], L2-normalised.
      logit_scale: what the model multiplies cosines with before a softmax.
    """

    vectors: NDArray[np.float32]
    logit_scale: float


@dataclasses.dataclass(frozen=True)
class TextEncoder:
    """Encodes texts with a CLIP model's text tower, which is loaded by the first texts that are not kept in the cache.

    Attributes:
      model: an open_clip architecture, or "tiny-untrained".
      weights: its weights; None for "tiny-untrained", of which nothing is kept.
      pretrained_tag: the open_clip tag that they were published under; None for a checkpoint of unknown origin.
    """

    model: str
    weights: WeightsFile | None
    pretrained_tag: str | None

    def encode(self, texts: Sequence[str]) -> TextVectors:
        """Encodes texts.

        Raises:
          UsageError: a text is too long for the model, or the weights or the tokenizer cannot be had.
        """
        kept = self._kept(texts)
        if kept is not None and (found := _read(kept)) is not None:
            return found
        encoded = TextVectors(self._tower.encode(texts), self._tower.logit_scale)
        if kept is not None:
            _write(kept, encoded)
        return encoded

    @functools.cached_property
    def _tower(self) -> TextTower:
        try:
            checkpoint = str(self.weights.local_path()) if self.weights else None
        except CurationError as error:
            raise UsageError(str(error)) from error
        return load_text_tower(self.model, checkpoint, self.pretrained_tag)

    def _kept(self, texts: Sequence[str]) -> pathlib.Path | None:
        """The file of the cache that is theirs, whether it is there or not."""
        if self.weights is None:
            return None
        decides = [_LAYOUT, self.model, self.pretrained_tag, self.weights.sha256, list(texts)]
        return cache_dir() / "texts" / f"{hashlib.sha256(json.dumps(decides).encode()).hexdigest()}.npz"


def _read(path: pathlib.Path) -> TextVectors | None:
    """Reads the vectors that are kept; None if there are none, or none that can be read."""
    try:
        with np.load(path) as arrays:
            return TextVectors(arrays["vectors"], float(arrays["logit_scale"]))
    except FileNotFoundError:
        return None
    except Exception as error:  # cut short, or another's: numpy raises nearly anything
        _logger.info("%s: cannot be read (%s), and is made again", path, error)
        return None


def _write(path: pathlib.Path, encoded: TextVectors) -> None:
    content = io.BytesIO()
    np.savez(content, vectors=encoded.vectors, logit_scale=np.float64(encoded.logit_scale))
    try:
        transfer.write(path, content.getvalue())
    except (CurationError, OSError) as error:
        _logger.info("%s: cannot be written (%s): the next run encodes the same texts again", path, error)
