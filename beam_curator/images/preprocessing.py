"""A CLIP model's input: resized, cropped, RGB."""

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
    gigabytes; rounding may then differ by two levels.

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
            x_scale, y_scale = width / resized_width, height / resized_height
            box = (
                left * x_scale,
                top * y_scale,
                min(width, (left + size) * x_scale),
                min(height, (top + size) * y_scale),
            )
            image = image.resize((size, size), Image.Resampling.BICUBIC, box)
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


def resized_and_cropped(width: int, height: int, size: int) -> tuple[int, int, int, int]:
    """What `preprocess` resizes a picture to, and where its crop begins: (width, height, left, top), in pixels."""
    resized_width, resized_height = (
        (size, int(size * height / width)) if width <= height else (int(size * width / height), size)
    )
    return resized_width, resized_height, round((resized_width - size) / 2), round((resized_height - size) / 2)
