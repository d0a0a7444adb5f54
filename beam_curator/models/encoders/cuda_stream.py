"""One stream of images through the decode pool and the model on a device of its own, whoever they come from.

Callers submit lists of images and get futures. While the device runs the model on one micro-batch, the next ones are
decoded, also those of the list that comes after: the device waits neither for the end of a list nor for its beginning.

Images are taken as they are decoded, not in their order, so that one that takes a second does not stop the device.
Their order decides nothing: rows are placed by index, and passes have one shape whatever is in them.
"""

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from beam_curator.images import Encoded
from beam_curator.models.encoders.device_model import DeviceModel, PendingEmbeddings
from beam_curator.models.encoders.stream import Decode, EncodedImages, OnEmbedded, OnPicture, Request
from beam_curator.models.pixels.decoding import DecodedImage

if TYPE_CHECKING:
    import torch


@dataclass
class _MicroBatch:
    """Pixels for one call of the model, and whose they are."""

    pixels: "torch.Tensor"
    reductions: int
    places: list[tuple[Request, int]] = field(default_factory=list)
    began_ns: int = 0

    @property
    def full(self) -> bool:
        return len(self.places) == len(self.pixels)

    def add(self, request: Request, row: int, pixels: NDArray[np.uint8]) -> None:
        self.pixels[len(self.places)].numpy()[...] = pixels
        self.places.append((request, row))

    def places_of_requests(self) -> list[tuple[Request, list[int]]]:
        """Which of its places each request has, the request of the first place first."""
        found: dict[int, tuple[Request, list[int]]] = {}
        for place, (request, _) in enumerate(self.places):
            found.setdefault(id(request), (request, []))[1].append(place)
        return list(found.values())


class DeviceStream:
    """Runs a model on images that are submitted from any thread, as they are decoded.

    A micro-batch holds images of as many lists as it takes to fill it; where the stream runs dry, it goes as it is. Two
    of them are decoded ahead of the device: enough for the pool while the model runs, and bounded.
    """

    def __init__(
        self,
        model: DeviceModel,
        decode: Decode,
        pool: ThreadPoolExecutor,
        driver: ThreadPoolExecutor | None = None,
    ) -> None:
        """Takes what decodes one image, the pool that it is done in, and the one thread that runs the model."""
        self._model, self._decode, self._pool = model, decode, pool
        self._driver = driver or ThreadPoolExecutor(1, thread_name_prefix="encode")
        self._lock = threading.Lock()
        self._requests: deque[Request] = deque()  # those with images that are not decoding yet
        self._driving = False
        self._decoded: SimpleQueue[Future[DecodedImage] | None] = SimpleQueue()  # None: there are new requests
        # Only the driver's thread touches these.
        self._decoding: dict[Future[DecodedImage], tuple[Request, int]] = {}
        self._filling: _MicroBatch | None = None
        self._running: tuple[_MicroBatch, PendingEmbeddings] | None = None

    def submit(
        self,
        images: Sequence[Encoded | None],
        on_embedded: OnEmbedded | None = None,
        on_picture: OnPicture | None = None,
    ) -> Future[EncodedImages]:
        """As `Stream.submit`."""
        request = Request.of(images, self._model.dim, on_embedded, on_picture)
        with self._lock:
            self._requests.append(request)
            if self._driving:
                self._decoded.put(None)
            else:
                self._driving = True
                self._driver.submit(self._drive)
        return request.future

    def _drive(self) -> None:
        """Runs until there is nothing left to do."""
        try:
            while not self._has_run_dry():
                self._decode_ahead()
                if self._decoding:
                    self._take_decoded()
                else:
                    self._run_filling()
                    self._finish_running()
        except BaseException as error:  # it is the callers' to hear
            explained = self._model.explained(error)
            if explained is not error:
                explained.__cause__ = error
            self._fail(explained)

    def _has_run_dry(self) -> bool:
        with self._lock:
            if self._requests or self._decoding or self._filling or self._running:
                return False
            self._driving = False
            return True

    def _decode_ahead(self) -> None:
        """Keeps images decoding, as many as may."""
        while True:
            with self._lock:
                if not self._requests or len(self._decoding) > 2 * self._model.batch_size:
                    return
                request = self._requests[0]
                (row,) = request.take(1)
                if not request.unread:
                    self._requests.popleft()
            decoding = self._pool.submit(request.decoded, self._decode, row)
            self._decoding[decoding] = request, row
            decoding.add_done_callback(self._decoded.put)

    def _take_decoded(self) -> None:
        """Waits for the next image that is decoded, notes what became of it, and puts its pixels into the micro-batch:
        good ones are packed close."""
        decoded = self._decoded.get()
        if decoded is None:
            return
        image, (request, row) = decoded.result(), self._decoding[decoded]
        request.note_decoded(row, image)
        if image.pixels is not None:
            if self._filling is None:
                self._filling = _MicroBatch(*self._model.new_pass())
            self._filling.add(request, row, image.pixels)
            if self._filling.full:
                self._run_filling()
        del self._decoding[decoded]

    def _run_filling(self) -> None:
        """Hands the micro-batch to the device, and only then, when it has work, waits for the one before."""
        batch = self._filling
        if batch is None:
            return
        batch.began_ns = time.perf_counter_ns()
        pending = self._model.run(batch.pixels[: len(batch.places)])
        self._finish_running()
        self._filling, self._running = None, (batch, pending)

    def _finish_running(self) -> None:
        """Waits for the micro-batch that the device has, and gives every request its rows."""
        if self._running is None:
            return
        batch, pending = self._running
        values, reductions = pending.wait(), batch.reductions + pending.batch_reductions
        batch.places[0][0].note_pass(batch.began_ns)
        for request, places in batch.places_of_requests():
            request.note_embedded([batch.places[place][1] for place in places], values[places], reductions)
            reductions = 0  # the first request met what the micro-batch met
        self._running = None

    def _fail(self, error: BaseException) -> None:
        """Every list that is in the stream fails, and the next one finds it empty."""
        with self._lock:
            requests = [*self._requests, *(request for request, _ in self._decoding.values())]
            for batch in (self._filling, self._running[0] if self._running else None):
                requests += [request for request, _ in batch.places] if batch else []
            for decoding in self._decoding:
                decoding.cancel()
            self._requests.clear()
            self._decoding = {}
            self._decoded = SimpleQueue()  # what is still decoding goes into the old one
            self._filling, self._running, self._driving = None, None, False
        for request in requests:
            request.fail(error)
