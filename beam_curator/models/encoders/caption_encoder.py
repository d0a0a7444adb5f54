"""Captions to vectors by a CLIP model's text tower: tokenised where pictures are decoded, encoded on the device."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beam_curator.device_errors import refuse_in_fork
from beam_curator.errors import CurationError, JobError
from beam_curator.models.encoders.cpu_stream import core_pool
from beam_curator.models.encoders.precision import resolve_caption_precision, resolve_device
from beam_curator.models.encoders.text_tower import TextTower, load_text_tower, tokeniser_for
from beam_curator.models.weights.weights_file import WeightsFile
from beam_curator.process_tuning import share_of_cores

_TEXTS_AT_ONCE = {"cpu": 32, "cuda": 512}
"""The texts in one pass of the text tower. On the CPU their number may decide last bits, so that it is always the
same."""

Tokens = NDArray[np.int32]
"""The tokens of n captions: [n, context length]; a row of zeros alone is a caption that nobody has tokenised yet."""


class Captions(Sequence[str]):
    """Texts, with their tokens as far as they are known; a slice of them is one as well."""

    def __init__(self, texts: Sequence[str], tokens: Tokens | None = None) -> None:
        self.texts, self.tokens = texts, tokens

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, place: Any) -> Any:
        if not isinstance(place, slice):
            return self.texts[place]
        return Captions(self.texts[place], None if self.tokens is None else self.tokens[place])


class CaptionTokeniser:
    """Makes tokens of one caption at a time, in any thread: as many as the model reads, a longer caption is cut.

    Attributes:
      model: an open_clip architecture, or "tiny-untrained".
      weights: its weights, beside which its tokenizer may stand; None for "tiny-untrained".
    """

    def __init__(self, model: str, weights: WeightsFile | None) -> None:
        self.model, self.weights = model, weights
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[CaptionTokeniser], tuple[str, WeightsFile | None]]:
        return CaptionTokeniser, (self.model, self.weights)

    @functools.cached_property
    def _tokenise(self) -> Any:
        try:
            return tokeniser_for(self.model, str(self.weights.local_path()) if self.weights else None)
        except CurationError as error:
            raise JobError(f"captions cannot be tokenised: {error}") from error

    @property
    def context_length(self) -> int:
        """The number of tokens that the model reads."""
        with self._lock:
            return int(self._tokenise.context_length)

    def __call__(self, caption: str) -> Tokens:
        """The tokens of a caption: int32 [context length]."""
        with self._lock:  # tokenizers of the hub may not be called by two threads at a time
            return self._tokenise([caption])[0].numpy().astype(np.int32)


class CaptionEncoder:
    """Encodes captions. Weights load with the first of them, once for all threads of a process.

    Args:
      model: the open_clip architecture, or "tiny-untrained".
      weights: its weights; None for "tiny-untrained".
      pretrained_tag: the open_clip tag that they were published under; None for a checkpoint of unknown origin.
      device: "auto", "cpu" or "cuda".
      precision: "auto" (fp16 on a GPU, else fp32), "fp32", "bf16" or "fp16".
    """

    def __init__(
        self,
        model: str,
        weights: WeightsFile | None,
        pretrained_tag: str | None,
        device: str,
        precision: str = "auto",
    ) -> None:
        self._given = (model, weights, pretrained_tag, device, precision)
        self.tokenise = CaptionTokeniser(model, weights)
        self._load_lock = threading.Lock()
        self._tower: TextTower | None = None
        self._pool: ThreadPoolExecutor | None = None

    def __reduce__(self) -> tuple[type[CaptionEncoder], tuple[Any, ...]]:
        return CaptionEncoder, self._given

    @property
    def precision(self) -> str | None:
        """ "fp32", "bf16" or "fp16"; None before loading."""
        return self._tower.precision if self._tower else None

    def load(self) -> None:
        """Reads the text tower of the weights, and takes the device, once.

        Raises:
          JobError: they cannot be had on this worker.
        """
        self._loaded()

    def _loaded(self) -> tuple[TextTower, ThreadPoolExecutor]:
        model, weights, pretrained_tag, device, precision = self._given
        with self._load_lock:
            if self._tower is None or self._pool is None:
                self._process = os.getpid()
                self._pool = core_pool(share_of_cores())
                try:
                    checkpoint = str(weights.local_path()) if weights else None
                    device = resolve_device(device)
                    precision = resolve_caption_precision(precision, device)
                    self._tower = load_text_tower(model, checkpoint, pretrained_tag, precision=precision, device=device)
                except CurationError as error:
                    raise JobError(f"captions cannot be embedded: {error}") from error
            refuse_in_fork(self._process, f"the text tower of model '{model}'", self._tower.device)
            return self._tower, self._pool

    def encode(self, captions: Captions) -> NDArray[np.float16]:
        """Encodes captions: float16 [n, dim], L2-normalised; a caption that is longer than the model reads is cut.

        What is not tokenised yet is tokenised first. Captions that end early are encoded by themselves (`SHORT_TEXTS`).
        """
        tower, pool = self._loaded()
        size = _TEXTS_AT_ONCE[tower.device]
        pieces = [captions[start : start + size] for start in range(0, len(captions), size)]
        tokens = np.concatenate(list(pool.map(self._tokens, pieces)))
        passes = [
            (rows, length)
            for length, places in self._by_length(tower, tokens)
            for rows in (places[start : start + size] for start in range(0, len(places), size))
        ]
        # On a GPU one after the other: passes that run at once would want memory at once.
        run = pool.map if tower.device == "cpu" else map
        vectors = list(run(lambda one: tower.encode_rows(tokens[one[0]], one[1]), passes))
        encoded = np.empty((len(captions), vectors[0].shape[1]), np.float16)
        for (rows, _), found in zip(passes, vectors, strict=True):
            encoded[rows] = found
        return encoded

    @staticmethod
    def _by_length(tower: TextTower, tokens: Tokens) -> list[tuple[int, NDArray[np.intp]]]:
        """Groups captions by how far they are read: gives each length with the places of its captions. A pass has
        captions of one length, so that each is read as far as it is, whatever the others are."""
        lengths = tower.lengths(tokens)
        return [(int(length), np.flatnonzero(lengths == length)) for length in np.unique(lengths)]

    def _tokens(self, captions: Captions) -> Tokens:
        known = captions.tokens
        return np.stack(
            [
                self.tokenise(text) if known is None or not known[index].any() else known[index]
                for index, text in enumerate(captions.texts)
            ]
        )


class TokensOfBatch:
    """The tokens of a batch's captions: called with each sample's place by the thread that decodes its picture."""

    def __init__(self, tokenise: CaptionTokeniser, captions: Sequence[str | None]) -> None:
        self._tokenise, self._captions = tokenise, captions
        self.tokens = np.zeros((len(captions), tokenise.context_length if any(captions) else 0), np.int32)

    def __call__(self, place: int, image: Any) -> None:
        """Tokenises the caption of the sample at this place, where its picture could be decoded; what goes wrong goes
        wrong again where it is encoded, and is told there."""
        if image is not None and place < len(self._captions) and (caption := self._captions[place]):
            try:
                self.tokens[place] = self._tokenise(caption)
            except Exception:
                return


def all_of(watchers: Sequence[Any]) -> Any:
    """Makes one callable that calls each of these with each picture; None for none."""
    there = [one for one in watchers if one is not None]
    if len(there) < 2:
        return there[0] if there else None

    def watch(place: int, image: Any) -> None:
        for one in there:
            one(place, image)

    return watch
