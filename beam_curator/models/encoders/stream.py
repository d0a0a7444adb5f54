"""A list of images on its way through a model, and what becomes of it."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from beam_curator.images import Encoded, ImageFacts
from beam_curator.models.pixels.decoding import DecodedImage

if TYPE_CHECKING:
    from PIL.Image import Image

EMBEDDING_NOT_FINITE = "embedding is not finite"
EMBEDDING_NO_DIRECTION = "embedding is zero, or too long or too short to be normalised in float32"
EMBEDDING_FAILURES = (EMBEDDING_NOT_FINITE, EMBEDDING_NO_DIRECTION, "embedding is zero")  # the last: by release 0.1
"""Reasons of images that can be decoded, and of which the model makes nothing."""

OnPicture = Callable[[int, "Image | None"], None]
"""Called once with each image's place in the list and its picture as it is decoded, None where it cannot be; by several
threads at a time."""

Decode = Callable[..., DecodedImage]
"""Decodes one image, encoded or None; takes what is to see the picture as well, as `Decoder` does."""

OnEmbedded = Callable[[Sequence[int], int], None]
"""Called with the indices of images that are finished, and how many of them failed, as they come, by one thread at a
time."""


@dataclass
class EncodedImages:
    """The results for n images, in their order.

    Attributes:
      embeddings: float16 [n, dim], L2-normalised; zeros for images that failed.
      facts: the facts of each image; None where there were no bytes.
      failures: why each image failed, as the ledger's reason; None for a good image.
      batch_reductions: how often the micro-batch was halved for want of memory while these were embedded.
      decode_us: the time in which each image was decoded, in microseconds, in no order.
      pass_us: for each pass that began with one of these images, the time from when it was handed to the model until
        its embeddings were there, in microseconds.
    """

    embeddings: NDArray[np.float16]
    facts: list[ImageFacts | None]
    failures: list[str | None]
    batch_reductions: int = 0
    decode_us: list[int] = field(default_factory=list)
    pass_us: list[int] = field(default_factory=list)

    @classmethod
    def empty(cls, count: int, dim: int) -> "EncodedImages":
        """Results for `count` images of which nothing is known yet."""
        return cls(np.zeros((count, dim), np.float16), [None] * count, [None] * count)


class Stream(Protocol):
    """Runs a model on lists of images that are submitted from any thread."""

    def submit(
        self,
        images: Sequence[Encoded | None],
        on_embedded: OnEmbedded | None = None,
        on_picture: OnPicture | None = None,
    ) -> Future[EncodedImages]:
        """The future gives the rows of a list that is not empty, or raises what the model raised."""
        ...


@dataclass
class Request:
    """A list of images under way: nobody has taken the last `unread` of them yet. Its rows may come from any thread."""

    images: Sequence[Encoded | None]
    encoded: EncodedImages
    on_embedded: OnEmbedded | None
    on_picture: OnPicture | None
    future: "Future[EncodedImages]"
    unread: int
    _unfinished: int
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(
        cls,
        images: Sequence[Encoded | None],
        dim: int,
        on_embedded: OnEmbedded | None,
        on_picture: OnPicture | None = None,
    ) -> "Request":
        """A list of which nothing is done yet."""
        count = len(images)
        return cls(images, EncodedImages.empty(count, dim), on_embedded, on_picture, Future(), count, count)

    def decoded(self, decode: Decode, row: int) -> DecodedImage:
        """Decodes one of its images, in the calling thread."""
        image, began = self.images[row], time.perf_counter_ns()
        found = decode(image) if self.on_picture is None else decode(image, partial(self.on_picture, row))
        self.encoded.decode_us.append((time.perf_counter_ns() - began) // 1000)
        return found

    def take(self, count: int) -> range:
        """The next images, as far as there are so many: their rows."""
        start = len(self.images) - self.unread
        taken = range(start, min(start + count, len(self.images)))
        self.unread -= len(taken)
        return taken

    def note_decoded(self, row: int, image: DecodedImage) -> None:
        """Notes what is known of an image before the model has seen it. A bad one is finished with that."""
        self.encoded.facts[row], self.encoded.failures[row] = image.facts, image.failure
        if image.pixels is None:
            with self._lock:
                if self.on_embedded:
                    self.on_embedded([row], 1)
                self._finish(1)

    def note_embedded(self, rows: Sequence[int], values: NDArray[np.float32], reductions: int) -> None:
        """Notes the embeddings of images, which are finished with that.

        Args:
          rows: theirs, [n].
          values: float32 [n, dim], L2-normalised; written to.
          reductions: how often the micro-batch was halved meanwhile.
        """
        not_finite = np.logical_not(np.isfinite(values).all(axis=1))
        # Normalising has no direction for zeros and what is beyond float32, and leaves what is below 1e-12 as short.
        bad = not_finite | (np.square(values).sum(axis=1) < 0.5)
        for index in np.flatnonzero(bad).tolist():
            self.encoded.failures[rows[index]] = EMBEDDING_NOT_FINITE if not_finite[index] else EMBEDDING_NO_DIRECTION
        values[bad] = 0
        self.encoded.embeddings[list(rows)] = values
        with self._lock:
            self.encoded.batch_reductions += reductions
            if self.on_embedded:
                self.on_embedded(rows, int(bad.sum()))
            self._finish(len(rows))

    def note_pass(self, began_ns: int) -> None:
        """A pass that began with one of its images is over; `began_ns` is by `time.perf_counter_ns`."""
        self.encoded.pass_us.append((time.perf_counter_ns() - began_ns) // 1000)

    def fail(self, error: BaseException) -> None:
        """Ends the request with an error: nothing more comes of it."""
        with self._lock:
            if not self.future.done():
                self.future.set_exception(error)

    def _finish(self, count: int) -> None:
        self._unfinished -= count
        if not self._unfinished and not self.future.done():
            self.future.set_result(self.encoded)
