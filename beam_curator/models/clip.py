"""CLIP image embeddings: encoded images in, L2-normalised vectors out. No Beam in it."""

import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from beam_curator.errors import UsageError
from beam_curator.images import MAX_IMAGE_PIXELS, Encoded, ImageFacts
from beam_curator.models.decoding import decode_ahead
from beam_curator.models.device_model import DeviceModel, PendingEmbeddings
from beam_curator.models.precision import (
    DEVICES,
    PRECISIONS,
    check_precision,
    resolve_device,
    resolve_precision,
)
from beam_curator.models.visual_tower import (
    TINY_UNTRAINED,
    Architecture,
    find_architecture,
    load_visual_tower,
)

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ClipSpec:
    """All that decides an encoder and its numbers; small, hashable, picklable.

    Fields:
      model: an open_clip architecture ("ViT-L-14"), or "tiny-untrained": a small seeded encoder whose
        scores mean nothing.
      checkpoint: local path of the weights. None only for "tiny-untrained".
      pretrained_tag: the open_clip tag that the weights were published under ("openai", ...). It decides
        QuickGELU and the input's mean and std. OpenAI's own archive is also known without it.
      precision: "fp32", "bf16", "fp16" (CUDA only), or "auto": bf16 on CUDA and on CPUs that compute it
        natively, else fp32.
      device: "cuda", "cpu", or "auto": cuda if there is one. "cuda" never falls back.
      batch_size: images in one pass through the model, at first: `ClipEncoder` halves it where it does not
        fit.
      decode_threads: 0 means one for each core that this process may use.
      max_image_pixels: limit on width x height of an image.
    """

    model: str = "ViT-L-14"
    checkpoint: str | None = None
    pretrained_tag: str | None = None
    precision: str = "auto"
    device: str = "auto"
    batch_size: int = 256
    decode_threads: int = 0
    max_image_pixels: int = MAX_IMAGE_PIXELS

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("precision", self.precision, PRECISIONS),
            ("device", self.device, DEVICES),
        ):
            if value not in choices:
                raise UsageError(f"{name} is '{value}': choose one of {', '.join(choices)}")
        for name, number, least in (
            ("batch_size", self.batch_size, 1),
            ("decode_threads", self.decode_threads, 0),
            ("max_image_pixels", self.max_image_pixels, 1),
        ):
            if number < least:
                raise UsageError(f"{name} is {number}: it must be at least {least}")
        check_precision(self.precision, self.device)

    @property
    def trained(self) -> bool:
        """Whether scores mean anything."""
        return self.model != TINY_UNTRAINED


@dataclass(frozen=True)
class EncodedImages:
    """What `ClipEncoder.encode` returns, one row for each image, in their order.

    Fields:
      embeddings: float16 [n, dim], L2-normalised; zeros in failed rows.
      facts: None where there were no bytes.
      failures: the ledger's reason; None where the image is good.
    """

    embeddings: NDArray[np.float16]
    facts: list[ImageFacts | None]
    failures: list[str | None]


class ClipEncoder:
    """Embeds images. Weights load on the first `encode` of anything, or by `load`: making one costs nothing.

    May be used from several threads: they share the decode pool, and take turns at the device.
    """

    def __init__(self, spec: ClipSpec) -> None:
        self.spec = spec
        self._model: DeviceModel | None = None
        self._load_lock = threading.Lock()
        # Its threads start with the first image.
        self._pool = ThreadPoolExecutor(spec.decode_threads or _usable_cores(), thread_name_prefix="decode")

    @property
    def dim(self) -> int:
        """Length of an embedding; loads no weights."""
        return self._architecture.dim

    @property
    def image_size(self) -> int:
        """Side of the model's square input, in pixels; loads no weights."""
        return self._architecture.image_size

    @property
    def trained(self) -> bool:
        """Whether scores mean anything."""
        return self.spec.trained

    @property
    def device(self) -> str | None:
        """ "cuda" or "cpu"; None before loading."""
        return self._model.device if self._model else None

    @property
    def precision(self) -> str | None:
        """ "fp32", "bf16" or "fp16"; None before loading."""
        return self._model.precision if self._model else None

    @property
    def batch_size(self) -> int:
        """Images in one pass through the model, now."""
        return self._model.batch_size if self._model else self.spec.batch_size

    @property
    def batch_reductions(self) -> int:
        """How often `batch_size` was halved for want of memory."""
        return self._model.batch_reductions if self._model else 0

    def load(self) -> None:
        """Loads the weights and takes the device, once; later calls return at once.

        Raises:
          CurationError: unknown model, checkpoint that does not fit, device absent, precision not possible
            on it, or no room for the model.
        """
        self._loaded()

    def encode(
        self, images: Sequence[Encoded | None], on_embedded: Callable[[Sequence[int]], None] | None = None
    ) -> EncodedImages:
        """Embeds encoded images (None: a sample without one). A bad image costs its row, and raises nothing.

        `on_embedded` is called with the indices of the images of each micro-batch that is done.

        Equal to open_clip's own transform and `encode_image`, then L2-normalised: within 1e-3 at fp32,
        cosine >= 0.9999 at bf16, before rounding to float16.

        Raises:
          CurationError: as `load`; or not even one image fits in the device's memory.
        """
        encoded = EncodedImages(
            np.zeros((len(images), self.dim), np.float16), [None] * len(images), [None] * len(images)
        )
        if not images:
            return encoded

        def finish(rows: list[int], pending: PendingEmbeddings) -> None:
            _fill(encoded, rows, pending)
            if on_embedded:
                on_embedded(rows)

        model = self._loaded()
        previous: tuple[list[int], PendingEmbeddings] | None = None
        for rows, pixels in self._micro_batches(model, images, encoded):
            current = (rows, model.run(pixels))
            # Only now, when the device has its next work, is there time to wait.
            if previous:
                finish(*previous)
            previous = current
        if previous:
            finish(*previous)
        return encoded

    @functools.cached_property
    def _architecture(self) -> Architecture:
        return find_architecture(self.spec.model)

    def _loaded(self) -> DeviceModel:
        with self._load_lock:
            if self._model is None:
                spec = self.spec
                device = resolve_device(spec.device)
                precision = resolve_precision(spec.precision, device)
                tower = load_visual_tower(spec.model, spec.checkpoint, spec.pretrained_tag)
                self._model = DeviceModel(spec.model, tower, device, precision, spec.batch_size)
            return self._model

    def _micro_batches(
        self, model: DeviceModel, images: Sequence[Encoded | None], encoded: EncodedImages
    ) -> "Iterator[tuple[list[int], torch.Tensor]]":
        """Yields (rows, uint8 [len(rows), size, size, 3]) of the good images, and notes what became of each.

        Good images are packed close, so that bad ones leave no holes in the device's batches.
        """
        limits = (self.image_size, self.spec.max_image_pixels)
        rows: list[int] = []
        buffer = None
        for row, image in enumerate(decode_ahead(images, *limits, self._pool, window=2 * model.batch_size)):
            encoded.facts[row], encoded.failures[row] = image.facts, image.failure
            if image.pixels is None:
                continue
            if buffer is None:
                buffer = model.new_buffer(min(model.batch_size, len(images) - row), self.image_size)
            buffer[len(rows)].numpy()[...] = image.pixels
            rows.append(row)
            if len(rows) == len(buffer):
                yield rows, buffer
                rows, buffer = [], None
        if buffer is not None:
            yield rows, buffer[: len(rows)]


def _fill(encoded: EncodedImages, rows: list[int], pending: PendingEmbeddings) -> None:
    """Waits for a micro-batch and writes its rows."""
    values = pending.wait()
    not_finite = np.flatnonzero(~np.isfinite(values).all(axis=1))
    values[not_finite] = 0
    encoded.embeddings[rows] = values
    for index in not_finite:
        encoded.failures[rows[index]] = "embedding is not finite"


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
