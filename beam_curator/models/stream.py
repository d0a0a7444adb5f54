"""One stream of images through the decode pool and the model, whoever they come from.

Callers submit lists of images and get futures. While a GPU runs the model on one micro-batch, the next ones are
decoded, also those of the list that comes after: the device waits neither for the end of a list nor for its beginning.
On the CPU, decoding and the model take turns on all cores.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from beam_curator.images import Encoded, ImageFacts
from beam_curator.models.decoding import DecodedImage
from beam_curator.models.device_model import DeviceModel, PendingEmbeddings

if TYPE_CHECKING:
    import torch

OnEmbedded = Callable[[Sequence[int]], None]
"""Called with the indices of images that are embedded, as they come."""


@dataclass
class EncodedImages:
    """What becomes of a list of images, one row for each, in their order.

    Fields:
      embeddings: float16 [n, dim], L2-normalised; zeros in failed rows.
      facts: None where there were no bytes.
      failures: the ledger's reason; None where the image is good.
      batch_reductions: how often the micro-batch was halved for want of memory while these were embedded.
    """

    embeddings: NDArray[np.float16]
    facts: list[ImageFacts | None]
    failures: list[str | None]
    batch_reductions: int = 0

    @classmethod
    def empty(cls, count: int, dim: int) -> "EncodedImages":
        """Rows that nothing is known of yet."""
        return cls(np.zeros((count, dim), np.float16), [None] * count, [None] * count)


@dataclass
class _Job:
    """A list of images on its way: `unread` of them are not decoding yet, `unfinished` have no outcome yet."""

    images: Sequence[Encoded | None]
    encoded: EncodedImages
    on_embedded: OnEmbedded | None
    future: "Future[EncodedImages]"
    unread: int
    unfinished: int

    def finish(self, rows: Sequence[int]) -> None:
        self.unfinished -= len(rows)
        if not self.unfinished:
            self.future.set_result(self.encoded)


@dataclass
class _MicroBatch:
    """Pixels for one call of the model, and whose they are."""

    pixels: "torch.Tensor"
    places: list[tuple[_Job, int]] = field(default_factory=list)

    @property
    def full(self) -> bool:
        return len(self.places) == len(self.pixels)

    def add(self, job: _Job, row: int, pixels: NDArray[np.uint8]) -> None:
        self.pixels[len(self.places)].numpy()[...] = pixels
        self.places.append((job, row))


class EncodingStream:
    """Runs a model on images that are submitted from any thread, in their order.

    On CUDA a micro-batch holds images of as many lists as it takes to fill it; where the stream runs dry, it goes as it
    is. On the CPU it ends with its list: full micro-batches gain nothing there, and what an image's neighbours are may
    decide the last bits of its fp32 embedding.
    """

    def __init__(
        self,
        model: DeviceModel,
        dim: int,
        image_size: int,
        decode: Callable[[Encoded | None], DecodedImage],
        pool: ThreadPoolExecutor,
        driver: ThreadPoolExecutor | None = None,
    ) -> None:
        """Takes what decodes one image, the pool that it is done in, and the one thread that runs the model."""
        self._model, self._dim, self._image_size, self._decode, self._pool = model, dim, image_size, decode, pool
        self._driver = driver or ThreadPoolExecutor(1, thread_name_prefix="encode")
        self._lock = threading.Lock()
        self._jobs: deque[_Job] = deque()  # those with images that are not decoding yet
        self._driving = False
        # Only the driver's thread touches these.
        self._decoding: deque[tuple[_Job, int, Future[DecodedImage]]] = deque()
        self._filling: _MicroBatch | None = None
        self._running: tuple[_MicroBatch, PendingEmbeddings] | None = None

    def submit(self, images: Sequence[Encoded | None], on_embedded: OnEmbedded | None = None) -> Future[EncodedImages]:
        """Puts images into the stream; the future gives their rows, or raises what the model raised."""
        encoded = EncodedImages.empty(len(images), self._dim)
        job = _Job(images, encoded, on_embedded, Future(), len(images), len(images))
        if not images:
            job.future.set_result(encoded)
            return job.future
        with self._lock:
            self._jobs.append(job)
            if not self._driving:
                self._driving = True
                self._driver.submit(self._drive)
        return job.future

    def _drive(self) -> None:
        """Runs until there is nothing left to do."""
        try:
            while not self._has_run_dry():
                self._decode_ahead()
                if self._decoding:
                    self._take(*self._decoding[0])
                    self._decoding.popleft()
                else:
                    self._run_filling()
                    self._finish_running()
        except BaseException as error:  # it is the callers' to hear
            self._fail(error)

    def _has_run_dry(self) -> bool:
        with self._lock:
            if self._jobs or self._decoding or self._filling or self._running:
                return False
            self._driving = False
            return True

    def _decode_ahead(self) -> None:
        """Keeps images decoding, as many as may."""
        while True:
            with self._lock:
                if not self._jobs or not self._may_decode(self._jobs[0]):
                    return
                job = self._jobs[0]
                row = len(job.images) - job.unread
                job.unread -= 1
                if not job.unread:
                    self._jobs.popleft()
            self._decoding.append((job, row, self._pool.submit(self._decode, job.images[row])))

    def _may_decode(self, job: _Job) -> bool:
        """Whether one more image of a list may be decoded now.

        Two micro-batches are ahead of a device of its own: enough for the pool while the model runs, and bounded. On
        the CPU, where they would hold each other up, they take turns: no image is decoded while the model runs.
        """
        if self._model.has_own_device:
            return len(self._decoding) <= 2 * self._model.batch_size
        filled = len(self._filling.places) if self._filling else 0
        same_list = not self._decoding or self._decoding[-1][0] is job
        return same_list and filled + len(self._decoding) < self._model.batch_size

    def _take(self, job: _Job, row: int, decoded: Future[DecodedImage]) -> None:
        """Notes what became of one image, and puts its pixels into the micro-batch: good ones are packed close."""
        image = decoded.result()
        job.encoded.facts[row], job.encoded.failures[row] = image.facts, image.failure
        if image.pixels is None:
            job.finish([row])
        else:
            if self._filling is None:
                self._filling = _MicroBatch(self._new_buffer(len(job.images) - row))
            self._filling.add(job, row, image.pixels)
        ends_here = row == len(job.images) - 1 and not self._model.has_own_device
        if self._filling and (self._filling.full or ends_here):
            self._run_filling()

    def _new_buffer(self, images_left: int) -> "torch.Tensor":
        size = self._model.batch_size
        return self._model.new_buffer(size if self._model.has_own_device else min(size, images_left), self._image_size)

    def _run_filling(self) -> None:
        """Hands the micro-batch to the device, and only then, when it has work, waits for the one before."""
        batch = self._filling
        if batch is None:
            return
        reductions = self._model.batch_reductions
        pending = self._model.run(batch.pixels[: len(batch.places)])
        batch.places[0][0].encoded.batch_reductions += self._model.batch_reductions - reductions
        self._finish_running()
        self._filling, self._running = None, (batch, pending)

    def _finish_running(self) -> None:
        """Waits for the micro-batch that the device has, and gives every job its rows."""
        if self._running is None:
            return
        batch, pending = self._running
        values = pending.wait()
        start = 0
        for _, places in groupby(batch.places, key=lambda place: id(place[0])):
            job, rows = _one_job(list(places))
            _fill(job.encoded, rows, values[start : start + len(rows)])
            start += len(rows)
            if job.on_embedded:
                job.on_embedded(rows)
            job.finish(rows)
        self._running = None

    def _fail(self, error: BaseException) -> None:
        """Every list that is in the stream fails, and the next one finds it empty."""
        with self._lock:
            jobs = [*self._jobs, *(job for job, _, _ in self._decoding)]
            for batch in (self._filling, self._running[0] if self._running else None):
                jobs += [job for job, _ in batch.places] if batch else []
            for _, _, decoding in self._decoding:
                decoding.cancel()
            self._jobs.clear()
            self._decoding.clear()
            self._filling, self._running, self._driving = None, None, False
        for job in jobs:
            if not job.future.done():
                job.future.set_exception(error)


def _one_job(places: Sequence[tuple[_Job, int]]) -> tuple[_Job, list[int]]:
    return places[0][0], [row for _, row in places]


def _fill(encoded: EncodedImages, rows: list[int], values: NDArray[np.float32]) -> None:
    not_finite = np.flatnonzero(~np.isfinite(values).all(axis=1))
    values[not_finite] = 0
    encoded.embeddings[rows] = values
    for index in not_finite:
        encoded.failures[rows[index]] = "embedding is not finite"
