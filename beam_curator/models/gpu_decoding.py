"""JPEGs decoded, resized and hashed on the GPU (nvJPEG, through torchvision); all other images on the CPU.

Pixels differ from the CPU's: another inverse DCT, another upsampling of colours, torch's antialiased bicubic filter.
`python -m benchmarks.drift` measures what that does to embeddings and scores.
"""

import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Transpose

from beam_curator.images import Encoded, PlainJpeg, hash_of_levels, plain_jpeg, resized_and_cropped
from beam_curator.models.decoding import DecodedImage, Decoder

if TYPE_CHECKING:
    import torch

# Of [3, height, width]: (whether the sides are swapped first, the dimensions that are flipped then).
_TURNS = {
    Transpose.FLIP_LEFT_RIGHT: (False, (2,)),
    Transpose.ROTATE_180: (False, (1, 2)),
    Transpose.FLIP_TOP_BOTTOM: (False, (1,)),
    Transpose.TRANSPOSE: (True, ()),
    Transpose.ROTATE_270: (True, (2,)),
    Transpose.TRANSVERSE: (True, (1, 2)),
    Transpose.ROTATE_90: (True, (1,)),
}

# ITU-R 601-2, as Pillow's "L".
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class GpuDecoder:
    """As `Decoder`, with plain JPEGs decoded on a device; what it cannot read there, the CPU judges.

    Fields:
      cpu: what decodes all else.
      device: "cuda"; "cpu" runs the same operations, with libjpeg-turbo in nvJPEG's place.
    """

    cpu: Decoder
    device: str
    _local: threading.local = field(default_factory=threading.local, compare=False, repr=False)

    def __call__(self, data: Encoded | None) -> DecodedImage:
        jpeg = None if data is None else plain_jpeg(data, self.cpu.max_pixels)
        if data is None or jpeg is None:
            return self.cpu(data)
        try:
            with self._own_stream():
                pixels, grey = _decode(data, jpeg, self.cpu.size, self.device)
        except RuntimeError:  # what it makes of damage is not told from what it lacks: the CPU says what is wrong
            return self.cpu(data)
        return DecodedImage(pixels, replace(jpeg.facts, phash=hash_of_levels(grey)), None)

    def _own_stream(self) -> AbstractContextManager[object]:
        """torchvision decodes into memory that the caller's stream may still be reading (pytorch/vision#9606). On a
        stream of this thread alone, which waits for each image, nothing is under way."""
        import torch

        if self.device != "cuda":
            return nullcontext()
        if not hasattr(self._local, "stream"):
            self._local.stream = torch.cuda.Stream()
        return torch.cuda.stream(self._local.stream)


def _decode(data: Encoded, jpeg: PlainJpeg, size: int, device: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(uint8 [size, size, 3], uint8 [32, 32]): the model's input, and the grey levels that are hashed."""
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    picture = _turned(decode_jpeg(encoded, ImageReadMode.RGB, device=device), jpeg.upright)
    height, width = picture.shape[1:]
    to_width, to_height, left, top = resized_and_cropped(width, height, size)
    cropped = _resized(picture, to_height, to_width)[:, top : top + size, left : left + size]
    luma = torch.tensor(_LUMA, device=device).view(3, 1, 1)
    grey = _resized((picture * luma).sum(0, keepdim=True).round().byte(), 32, 32)[0]
    return cropped.permute(1, 2, 0).contiguous().cpu().numpy(), grey.cpu().numpy()


def _turned(picture: "torch.Tensor", upright: Transpose | None) -> "torch.Tensor":
    if upright is None:
        return picture
    swaps, flips = _TURNS[upright]
    return (picture.transpose(1, 2) if swaps else picture).flip(flips)


def _resized(picture: "torch.Tensor", height: int, width: int) -> "torch.Tensor":
    from torchvision.transforms.v2.functional import InterpolationMode, resize

    return resize(picture, [height, width], InterpolationMode.BICUBIC, antialias=True)
