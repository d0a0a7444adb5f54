"""A CLIP model's input: resized, cropped, RGB."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from beam_curator.images.facts import ImageError, reason_of

# Above this length in units of the crop's side, a resized picture is never made whole: 1 x 65000 pixels
# would become 224 x 14560000.
LONGEST_RESIZED_SIDE = 32

_RESIZED_AT_ONCE = ("1", "P")
"""Modes that Pillow resizes to the nearest pixel, not in two passes."""


def preprocess(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Resizes (bicubic, shorter side to `size`), crops the centre, converts to RGB: a CLIP model's input.

    Bit-equal to `open_clip.image_transform(size, is_train=False)` before its division by 255. Only where
    the longer side is over 32 times the shorter is the crop resized directly, as the whole would take
    gigabytes; rounding may then differ by a level.

    Args:
      image: as `decode` returns it.
      size: side of the square crop, in pixels.

    Returns:
      uint8 [size, size, 3], RGB.

    Raises:
      ImageError: the picture cannot be resized or converted (out of memory, for one).
    """
    width, height = image.size
    resized_width, resized_height, left, top = resized_and_cropped(width, height, size)
    try:
        if max(resized_width, resized_height) > LONGEST_RESIZED_SIDE * size:
            columns, rows = _Side.of(width, resized_width, left, size), _Side.of(height, resized_height, top, size)
            # Cropped first, as Pillow may else resize a tall picture's columns before its rows.
            image = image.crop((columns.start, rows.start, columns.end, rows.end))
            box = (columns.box_start, rows.box_start, columns.box_end, rows.box_end)
            image = image.resize((columns.resized, rows.resized), Image.Resampling.BICUBIC, box)
            image = image.crop((columns.crop, rows.crop, columns.crop + size, rows.crop + size))
        else:
            if left and image.mode not in _RESIZED_AT_ONCE:
                # Pillow resizes rows, then columns: of those that the crop leaves out, it need not.
                image = image.resize((resized_width, height), Image.Resampling.BICUBIC)
                image, resized_width, left = image.crop((left, 0, left + size, height)), size, 0
            if image.size != (resized_width, resized_height):
                image = image.resize((resized_width, resized_height), Image.Resampling.BICUBIC)
            image = image.crop((left, top, left + size, top + size))
        return np.asarray(image.convert("RGB"))
    except Exception as error:
        raise ImageError(reason_of(error)) from error


@dataclass(frozen=True)
class _Side:
    """One side of a picture, as far as the crop of its resized picture, and what the filter reaches around it.

    Attributes:
      start, end: of the part of the picture, in pixels.
      box_start, box_end: of what is resized of that part; between pixels.
      resized: how many pixels that becomes.
      crop: where in these the crop begins.
    """

    start: int
    end: int
    box_start: float
    box_end: float
    resized: int
    crop: int

    @classmethod
    def of(cls, side: int, resized_side: int, crop: int, size: int) -> "_Side":
        """The bicubic filter reaches over two pixels: of the picture or, where that shrinks, of the resized one."""
        scale = side / resized_side
        margin = math.ceil(3 * max(1.0, 1 / scale))
        first, last = max(0, crop - margin), min(resized_side, crop + size + margin)
        start, end = math.floor(first * scale), min(side, math.ceil(last * scale))
        return cls(start, end, first * scale - start, min(end, last * scale) - start, last - first, crop - first)


def resized_and_cropped(width: int, height: int, size: int) -> tuple[int, int, int, int]:
    """What `preprocess` resizes a picture to, and where its crop begins: (width, height, left, top), in pixels."""
    resized_width, resized_height = (
        (size, int(size * height / width)) if width <= height else (int(size * width / height), size)
    )
    return resized_width, resized_height, round((resized_width - size) / 2), round((resized_height - size) / 2)
