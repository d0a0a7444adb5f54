"""Sends the images of all callers as one stream through the decode pool and the model on a device of its own.

Callers submit lists of images and get futures. While the device runs the model on one micro-batch, the next ones are
decoded, also those of the list that comes after: the device waits neither for the end of a list nor for its beginning.

Images are taken as they are decoded, not in their order, so that one that takes a second does not stop the device.
Their order decides nothing: rows are placed by index, and passes have one shape whatever is in them.

A thread decodes a few images at a time, so that threads wake each other, and wait for Python's lock to do so, once for
all of these.
"""

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from beam_curator.images import Encoded
from beam_curator.models.encoders.device_model import DeviceModel, PendingEmbeddings
from beam_curator.models.encoders.stream import Decode, EncodedImages, OnEmbedded, OnPicture, Request
from beam_curator.models.pixels.decoding import DecodedImage

if TYPE_CHECKING:
    import torch


_Decoding: TypeAlias = "Future[list[DecodedImage]]"


@dataclass
class _MicroBatch:
    """Pixels for one call of the model, and whose they are."""

    pixels: "torch.Tensor"
    reductions: int
    places: list[tuple[Request, int]] = field(default_factory=list)
    began_ns: int = 0

    def __post_init__(self) -> None:
        self._levels: NDArray[np.uint8] = self.pixels.numpy()

    @property
    def full(self) -> bool:
        return len(self.places) == len(self.pixels)

    def add(self, request: Request, row: int, pixels: NDArray[np.uint8]) -> None:
        self._levels[len(self.places)] = pixels
        self.places.append((request, row))

    def places_of_requests(self) -> list[tuple[Request, list[int]]]:
        """Gives each request that has places in the micro-batch, with these places; the request of the first place
        comes first."""
        found: dict[int, tuple[Request, list[int]]] = {}
        for place, (request, _) in enumerate(self.places):
            found.setdefault(id(request), (request, []))[1].append(place)
        return list(found.values())


MOST_IMAGES_AT_ONCE = 8


def images_at_once(batch_size: int, threads: int) -> int:
    """Says how many images a thread decodes at a time: so few that two passes have some for each thread, twice."""
    return max(1, min(MOST_IMAGES_AT_ONCE, batch_size // threads))


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
        images_at_once: int = 1,
    ) -> None:
        """Takes what decodes one image, the pool that it is done in, the one thread that runs the model, and how many
        images a thread of the pool takes at once."""
        self._model, self._decode, self._pool, self._at_once = model, decode, pool, images_at_once
        self._driver = driver or ThreadPoolExecutor(1, thread_name_prefix="encode")
        self._lock = threading.Lock()
        self._requests: deque[Request] = deque()  # those with images that are not decoding yet
        self._driving = False
        self._decoded: SimpleQueue[_Decoding | None] = SimpleQueue()  # None: there are new requests
        # Only the driver's thread touches these.
        self._decoding: dict[_Decoding, tuple[Request, range]] = {}
        self._ahead = 0  # images that are decoding
        self._filling: _MicroBatch | None = None
        self._running: tuple[_MicroBatch, PendingEmbeddings] | None = None

    def submit(
        self,
        images: Sequence[Encoded | None],
        on_embedded: OnEmbedded | None = None,
        on_picture: OnPicture | None = None,
    ) -> Future[EncodedImages]:
        """Submits images as `Stream.submit` says."""
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
                if not self._requests or self._ahead > 2 * self._model.batch_size:
                    return
                request = self._requests[0]
                rows = request.take(self._at_once)
                if not request.unread:
                    self._requests.popleft()
            decoding = self._pool.submit(self._decode_some, request, rows)
            self._decoding[decoding] = request, rows
            self._ahead += len(rows)
            decoding.add_done_callback(self._decoded.put)

    def _decode_some(self, request: Request, rows: range) -> list[DecodedImage]:
        return [request.decoded(self._decode, row) for row in rows]

    def _take_decoded(self) -> None:
        """Waits for the next images that are decoded, notes what became of them, and puts their pixels into the
        micro-batch: good ones are packed close."""
        decoded = self._decoded.get()
        if decoded is None:
            return
        found, (request, rows) = decoded.result(), self._decoding[decoded]
        for row, image in zip(rows, found, strict=True):
            request.note_decoded(row, image)
            if image.pixels is not None:
                if self._filling is None:
                    self._filling = _MicroBatch(*self._model.new_pass())
                self._filling.add(request, row, image.pixels)
                if self._filling.full:
                    self._run_filling()
        self._ahead -= len(rows)
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
        """Fails every list that is in the stream; the next one finds it empty."""
        with self._lock:
            requests = [*self._requests, *(request for request, _ in self._decoding.values())]
            for batch in (self._filling, self._running[0] if self._running else None):
                requests += [request for request, _ in batch.places] if batch else []
            for decoding in self._decoding:
                decoding.cancel()
            self._requests.clear()
            self._decoding, self._ahead = {}, 0
            self._decoded = SimpleQueue()  # what is still decoding goes into the old one
            self._filling, self._running, self._driving = None, None, False
        for request in requests:
            request.fail(error)
