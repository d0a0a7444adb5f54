"""A tiny model that notes what it is given, and stand-ins for decoding."""

import threading

import numpy as np
import torch

from beam_curator.models.encoders.device_model import DeviceModel
from beam_curator.models.encoders.encoder import load_tower
from beam_curator.models.encoders.tiny_untrained import TinyUntrained
from beam_curator.models.pixels.decoding import DecodedImage
from tests.patience import HANG_SECONDS

SIZE = 224


class RecordingModel(DeviceModel):
    """The tiny model, which notes how many images each call and each pass had."""

    def __init__(self, batch_size: int | None = 4, equal_passes: bool = False) -> None:
        super().__init__("tiny", load_tower(TinyUntrained()), "cpu", "fp32", batch_size)
        self._equal_passes = equal_passes
        self.calls: list[int] = []
        self.passes: list[int] = []
        self.most_at_once = 1 << 30

    def run(self, pixels):
        self.calls.append(len(pixels))
        return super().run(pixels)

    def _forward(self, pixels):
        self.passes.append(len(pixels))
        if len(pixels) > self.most_at_once:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super()._forward(pixels)


def picture(data: bytes) -> DecodedImage:
    """Stands in for decoding: one colour for each byte; b"" is no image."""
    if not data:
        return DecodedImage(None, None, "empty image")
    gradient = np.arange(SIZE, dtype=np.uint8)[:, None, None]
    return DecodedImage(np.broadcast_to(gradient + np.uint8(data[0]), (SIZE, SIZE, 3)), None, None)


def images(*levels: int) -> list[bytes]:
    return [bytes([level]) for level in levels]


def embeddings_alone(*levels: int) -> np.ndarray:
    """Each image in a pass of its own: float64 [n, 768]."""
    model = RecordingModel(batch_size=1)
    pixels = [torch.from_numpy(np.array(picture(data).pixels))[None] for data in images(*levels)]
    return np.concatenate([model.run(one).wait() for one in pixels]).astype(float)


def held_up(first: threading.Event):
    """Decoding that waits, so that all lists are in the stream before the first image is."""

    def decode(data):
        assert first.wait(HANG_SECONDS)
        return picture(data)

    return decode
