"""JPEGs by libjpeg-turbo itself (simplejpeg): the levels that Pillow gives, of its own libjpeg-turbo, in less time.

Pillow reads a file in pieces of 64 KB, and what it decoded has to be taken out of its memory again for torch. Here
torch takes the block that libjpeg-turbo writes, and Pillow, for hashes and scorers, has a copy.
"""

from __future__ import annotations

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from beam_curator.images.jpeg_passes import lacks_passes

_LEVELS = "_levels_of_beam_curator"
"""The attribute that holds a picture's block beside it: what Pillow makes of the picture has other levels, and has it
not."""

_GREY = np.uint8(127)
"""The level that missing data becomes, or one more."""


def jpeg_levels(opened: Image.Image, data: bytes) -> NDArray[np.uint8] | None:
    """Decodes a JPEG to what Pillow would give; gives None for what is no colour JPEG, or not plainly whole: libjpeg
    has anything to say of it, passes are missing, or it ends in grey, which is what missing data becomes.

    Args:
      opened: the picture as Pillow opened it, its size allowed; its pixels are not decoded.
      data: the encoded image.

    Returns:
      uint8 [height, width, 3], RGB.

    Raises:
      MemoryError: there is none for it.
    """
    if opened.format != "JPEG" or opened.mode != "RGB":
        return None
    if opened.info.get("progressive") and lacks_passes(data):
        return None
    block = np.empty((opened.height, opened.width, 3), np.uint8)
    try:
        levels = simplejpeg.decode_jpeg(data, "RGB", strict=True, buffer=block)
    except ValueError:
        return None
    if levels.shape != block.shape or (levels[-1, -8:] - _GREY < 2).all():
        return None
    return block


def picture_of(levels: NDArray[np.uint8]) -> Image.Image:
    """The RGB picture of levels [height, width, 3], which stay at hand, for `levels_of`."""
    picture = Image.fromarray(levels)
    setattr(picture, _LEVELS, levels)
    return picture


def levels_of(image: Image.Image) -> NDArray[np.uint8]:
    """uint8 [height, width, 3] of an RGB picture: the block that it was made of, or else a copy; not to be written
    to."""
    found: NDArray[np.uint8] | None = getattr(image, _LEVELS, None)
    return np.array(image) if found is None else found
