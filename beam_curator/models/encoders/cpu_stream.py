"""Images through the model on the CPU: each core takes some, decodes them and embeds them, all by itself.

A model that computes one pass on all cores has them wait for each other at the end of every operation, and for the
slowest of them, while one decodes, reads or writes. So there are as many passes under way as cores, each in one
thread; the weights are the same.
"""

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from beam_curator.images import Encoded
from beam_curator.models.encoders.device_model import DeviceModel
from beam_curator.models.encoders.stream import Decode, EncodedImages, OnEmbedded, OnPicture, Request

_LEAST_SHARE = 8
"""A pass has at least one in so many of the images that are best: smaller ones take longer for each image."""


def core_pool(threads: int) -> ThreadPoolExecutor:
    """Threads in each of which torch computes with that thread alone; the process's others are left as they were."""
    return ThreadPoolExecutor(threads, "core", initializer=_compute_alone)


_one_at_a_time = threading.Lock()


def _compute_alone() -> None:
    """torch's number of threads is that of the thread which sets it, and of all that begin to compute afterwards: so
    another thread, which computes nothing, sets it to what it was before."""
    import torch

    with _one_at_a_time:
        before = torch.get_num_threads()  # of a thread that begins now
        torch.set_num_threads(1)
        restoring = threading.Thread(target=torch.set_num_threads, args=(before,))
        restoring.start()
        restoring.join()


class CoreStream:
    """Runs a model on images that are submitted from any thread, those that came first before the others.

    A pass holds images of one list. It has as many as the model takes at once, and fewer where little waits, so that
    there is some for each core; where an image's neighbours may decide last bits of its embedding, always as many.
    """

    def __init__(
        self,
        model: DeviceModel,
        decode: Decode,
        pool: ThreadPoolExecutor,
        threads: int,
    ) -> None:
        """Takes what decodes one image, and a `core_pool` with its number of threads."""
        self._model, self._decode, self._pool, self._threads = model, decode, pool, threads
        self._lock = threading.Lock()
        self._requests: deque[Request] = deque()  # those with images that nobody has taken yet
        self._waiting = 0  # images of theirs
        self._at_work = 0  # threads

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
            self._waiting += len(images)
            more = min(self._threads - self._at_work, len(images))
            self._at_work += more
        for _ in range(more):
            self._pool.submit(self._work)
        return request.future

    def _work(self) -> None:
        """Embeds a few images, and has the pool go on."""
        piece = self._next_piece()
        if piece is None:
            return
        request, rows = piece
        try:
            if not request.future.done():  # one that failed is over
                self._embed(request, rows)
        except BaseException as error:  # it is the caller's to hear
            request.fail(error)
        try:
            self._pool.submit(self._work)
        except RuntimeError as error:  # the interpreter ends: nobody is to wait for what is left
            self._give_up(error)

    def _give_up(self, error: RuntimeError) -> None:
        with self._lock:
            requests = list(self._requests)
            self._requests.clear()
            self._waiting = 0
            self._at_work -= 1
        for request in requests:
            request.fail(error)

    def _next_piece(self) -> tuple[Request, range] | None:
        with self._lock:
            if not self._requests:
                self._at_work -= 1
                return None
            request = self._requests[0]
            rows = request.take(self._images_at_once())
            self._waiting -= len(rows)
            if not request.unread:
                self._requests.popleft()
            return request, rows

    def _images_at_once(self) -> int:
        most = self._model.batch_size
        if self._model.neighbours_matter:
            return most
        share = -(-self._waiting // self._threads)
        return min(most, max(share, most // _LEAST_SHARE, 1))

    def _embed(self, request: Request, rows: range) -> None:
        pixels = self._model.new_buffer(len(rows))
        good: list[int] = []
        for row in rows:
            image = request.decoded(self._decode, row)
            if image.pixels is not None:
                pixels[len(good)].numpy()[...] = image.pixels
                good.append(row)
            request.note_decoded(row, image)
        if good:
            began = time.perf_counter_ns()
            pending = self._model.run(pixels[: len(good)])
            values = pending.wait()
            request.note_pass(began)
            request.note_embedded(good, values, pending.batch_reductions)
