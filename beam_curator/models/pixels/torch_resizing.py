"""A CLIP model's input by torch's bicubic filter in place of Pillow's: the same filter, with weights of fewer bits, by
the processor's vector instructions.

A third of a percent of the levels of a photograph differ from Pillow's, by one. `python -m benchmarks.drift` measures
what that does to embeddings and scores.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from beam_curator.images import ImageError, preprocess, reason_of, resized_and_cropped
from beam_curator.images.preprocessing import LONGEST_RESIZED_SIDE

if TYPE_CHECKING:
    from PIL.Image import Image


def fast_preprocess(image: "Image", size: int) -> NDArray[np.uint8]:
    """As `images.preprocess`, whose docstring says the rest, for RGB pictures; of others it is that.

    torch resizes three colours at a time without threads of its own, so that this may run in many threads beside a
    model; a single one it does not.

    Raises:
      ImageError: the picture cannot be resized.
    """
    width, height = image.size
    if image.mode != "RGB" or max(width, height) > LONGEST_RESIZED_SIDE * min(width, height):
        return preprocess(image, size)
    import torch

    to_width, to_height, left, top = resized_and_cropped(width, height, size)
    try:
        # A copy, because torch warns of arrays that it must not write to. It takes colours that are not apart.
        picture = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
        resized = torch.nn.functional.interpolate(picture, (to_height, to_width), mode="bicubic", antialias=True)
    except (MemoryError, RuntimeError) as error:
        raise ImageError(reason_of(error)) from error
    # Cropped by numpy: torch would copy with a team of threads.
    return np.ascontiguousarray(resized[0].permute(1, 2, 0).numpy()[top : top + size, left : left + size])
