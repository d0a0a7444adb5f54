"""A tower's input by torch's bicubic or bilinear filter in place of Pillow's: the same filter, with weights of fewer
bits, by the processor's vector instructions.

A third of a percent of the levels of a photograph differ from Pillow's, by one. `python -m benchmarks.drift` measures
what that does to embeddings and scores.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from beam_curator.device_errors import wants_memory
from beam_curator.images import ImageError, Placed, Preparation, levels_of, preprocess, reason_of

if TYPE_CHECKING:
    from PIL.Image import Image

_OF_TORCH = ("bicubic", "bilinear")


def fast_preprocess(image: "Image", preparation: Preparation) -> NDArray[np.uint8]:
    """Does what `images.preprocess` does, in less time for RGB pictures and the filters that torch has; all others it
    hands on to it.

    torch resizes three colours at a time without threads of its own, so that this may run in many threads beside a
    model; a single one it does not.

    Raises:
      ImageError: the picture cannot be resized.
    """
    placed = Placed.of(image.width, image.height, preparation)
    if image.mode != "RGB" or placed.too_long or preparation.interpolation not in _OF_TORCH:
        return preprocess(image, preparation)
    return resized_levels(levels_of(image), preparation)


def resized_levels(levels: NDArray[np.uint8], preparation: Preparation) -> NDArray[np.uint8]:
    """The input of a picture's levels, uint8 [height, width, 3], RGB. Its filter is one that torch has, and it is
    not too long.

    Raises:
      ImageError: the picture cannot be resized.
    """
    import torch

    placed = Placed.of(levels.shape[1], levels.shape[0], preparation)
    try:
        # Of one image before its channels move to the front, or torch takes it that colours are apart, and parts them.
        picture = torch.from_numpy(levels.reshape(1, *levels.shape).transpose(0, 3, 1, 2))
        resized = torch.nn.functional.interpolate(
            picture, (placed.height, placed.width), mode=preparation.interpolation, antialias=True
        )
    except (MemoryError, RuntimeError) as error:  # torch says want of memory by a RuntimeError
        raise ImageError(reason_of(MemoryError() if wants_memory(error) else error)) from error
    # Cropped by numpy: torch would copy with a team of threads.
    return _cropped_or_filled(resized.numpy()[0].transpose(1, 2, 0), placed, preparation)


def _cropped_or_filled(picture: NDArray[np.uint8], placed: Placed, preparation: Preparation) -> NDArray[np.uint8]:
    """uint8 [height, width, 3]: the input, of a resized picture [its height, its width, 3]."""
    left, top = max(0, placed.left), max(0, placed.top)
    cropped = picture[top : top + placed.crop_height, left : left + placed.crop_width]
    if cropped.shape[:2] == preparation.shape:
        return np.ascontiguousarray(cropped)
    filled = np.empty((*preparation.shape, 3), np.uint8)
    filled[:] = preparation.fill_color
    left, top = max(0, -placed.left), max(0, -placed.top)
    filled[top : top + cropped.shape[0], left : left + cropped.shape[1]] = cropped
    return filled
