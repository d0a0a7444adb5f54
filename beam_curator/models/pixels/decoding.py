"""Decodes one image as the model takes it, or says why there is none."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from beam_curator.images import Encoded, ImageError, ImageFacts, Preparation, decode, preprocess
from beam_curator.models.pixels.torch_resizing import fast_preprocess

if TYPE_CHECKING:
    from PIL.Image import Image

Watch = Callable[["Image | None"], None]
"""Called with a picture as `images.decode` gives it, before it is resized; with None where there is none."""


@dataclass(frozen=True)
class DecodedImage:
    """One image as the model takes it, or why there is none.

    Attributes:
      pixels: uint8 [height, width, 3], RGB; None if the image failed.
      facts: None if there were no bytes.
      failure: the ledger's reason; None if the image is good.
    """

    pixels: NDArray[np.uint8] | None
    facts: ImageFacts | None
    failure: str | None


@dataclass(frozen=True)
class Decoder:
    """Decodes, orients, resizes and crops one image. A bad or absent image is a result, not an exception.

    Attributes:
      preparation: how the model's input is prepared.
      max_pixels: limit on width x height of an image.
      fast: whether JPEGs are decoded by `images.fast_jpeg`, with the same levels, and `fast_preprocess` resizes, whose
        levels differ by one or two.
    """

    preparation: Preparation
    max_pixels: int
    fast: bool = False

    def __call__(self, data: Encoded | None, watch: Watch | None = None) -> DecodedImage:
        """Decodes an encoded image, None for a sample without one, and prepares it; `watch` sees the picture."""
        watch = watch or _unwatched
        if data is None:
            watch(None)
            return DecodedImage(None, None, "sample without an image")
        try:
            image, facts = decode(data, self.max_pixels, fast=self.fast)
        except ImageError as error:
            watch(None)
            return DecodedImage(None, error.facts, str(error))
        watch(image)
        try:
            resized = (fast_preprocess if self.fast else preprocess)(image, self.preparation)
        except ImageError as error:
            return DecodedImage(None, facts, str(error))
        return DecodedImage(resized, facts, None)


def _unwatched(image: "Image | None") -> None:
    """Nobody wants to see it."""
