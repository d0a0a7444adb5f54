"""An encoder that does no work: images are decoded for it, and every embedding is the same."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from beam_curator.images import Encoded, Preparation
from beam_curator.models.encoders.clip import ClipEncoder, ClipSpec
from beam_curator.models.encoders.cuda_stream import DeviceStream, images_at_once
from beam_curator.models.encoders.device_model import DeviceModel, PendingEmbeddings
from beam_curator.models.encoders.stream import EncodedImages, OnEmbedded, OnPicture
from beam_curator.process_tuning import usable_cores


class IdleModel(DeviceModel):
    """Takes micro-batches as a GPU does, and gives constant embeddings at once."""

    def __init__(self, dim: int, preparation: Preparation, batch_size: int) -> None:
        self.name, self.device, self.precision, self.dim, self.preparation = "idle", "cpu", "fp32", dim, preparation
        self.batch_size, self.batch_reductions = batch_size, 0
        self._embedding = torch.full((batch_size, dim), dim**-0.5)

    def run(self, pixels: torch.Tensor) -> PendingEmbeddings:
        """Float32 [n, dim], without a look at the pixels."""
        return PendingEmbeddings([self._embedding[: len(pixels)].clone()], None)


class IdleEncoder(ClipEncoder):
    """A `ClipEncoder` with everything but the model: decode pool, micro-batches, facts."""

    def __init__(self, batch_size: int, decode_threads: int = 0, decode: str = "exact") -> None:
        spec = ClipSpec("tiny-untrained", batch_size=batch_size, decode_threads=decode_threads, decode=decode)
        super().__init__(spec)
        threads = decode_threads or usable_cores()
        pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        model = IdleModel(self.dim, self.preparation, batch_size)
        self._idle_stream = DeviceStream(
            model, self._decoder(), pool, images_at_once=images_at_once(batch_size, threads)
        )

    def load(self) -> None:
        """There is nothing to load."""

    def submit(
        self,
        images: Sequence[Encoded | None],
        on_embedded: OnEmbedded | None = None,
        on_picture: OnPicture | None = None,
    ) -> Future[EncodedImages]:
        """Submits images as `ClipEncoder.submit` does."""
        return self._idle_stream.submit(images, on_embedded)
