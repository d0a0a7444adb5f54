"""Decoding ahead of the model: a bounded window of images in a thread pool."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from beam_curator.images import Encoded, ImageError, ImageFacts, decode, preprocess


@dataclass(frozen=True)
class DecodedImage:
    """One image as the model takes it, or why there is none.

    Fields:
      pixels: uint8 [size, size, 3], RGB; None if the image failed.
      facts: None if there were no bytes.
      failure: the ledger's reason; None if the image is good.
    """

    pixels: NDArray[np.uint8] | None
    facts: ImageFacts | None
    failure: str | None


def decode_for_model(data: Encoded | None, size: int, max_pixels: int) -> DecodedImage:
    """Decodes, orients, resizes and crops one image. A bad or absent image is a result, not an exception."""
    if data is None:
        return DecodedImage(None, None, "sample without an image")
    facts = None
    try:
        image, facts = decode(data, max_pixels)
        return DecodedImage(preprocess(image, size), facts, None)
    except ImageError as error:
        return DecodedImage(None, facts or error.facts, str(error))


def decode_ahead(
    images: Iterable[Encoded | None], size: int, max_pixels: int, pool: ThreadPoolExecutor, window: int
) -> Iterator[DecodedImage]:
    """Yields the decoded images in their order, with up to `window` more being decoded or waiting.

    A window of two micro-batches keeps the pool busy while the model runs, and bounds memory whatever the
    number of images.
    """
    pending: deque[Future[DecodedImage]] = deque()
    try:
        for data in images:
            pending.append(pool.submit(decode_for_model, data, size, max_pixels))
            if len(pending) > window:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
