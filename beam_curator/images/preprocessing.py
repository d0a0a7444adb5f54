"""A tower's input: resized, cropped or filled up, RGB."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from beam_curator.images.facts import ImageError, reason_of
from beam_curator.images.preparation import Preparation

# Above this length in units of the crop's side, a resized picture is never made whole: 1 x 65000 pixels
# would become 224 x 14560000.
LONGEST_RESIZED_SIDE = 32

_RESIZED_AT_ONCE = ("1", "P")
"""Modes that Pillow resizes to the nearest pixel, not in two passes."""

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

_REACH = 3
"""The widest of the filters reaches over so many pixels: of the picture or, where that shrinks, of the resized one."""


def preprocess(image: Image.Image, preparation: Preparation) -> NDArray[np.uint8]:
    """Resizes a picture, crops its centre or fills it up, and converts it to RGB, as a tower wants it.

    Bit-equal to open_clip's `image_transform(..., is_train=False)`, and with `rgb_first` to timm's transform for
    evaluation, before their division by 255. Only where a picture that is cropped would become over 32 times as long
    as the crop is the crop resized directly, as the whole would take gigabytes; rounding may then differ by a level.
    And a side that "longest" would round to nothing is one pixel, where open_clip fails.

    Args:
      image: as `decode` returns it.
      preparation: how the tower's input is prepared; its mean and std do not count here.

    Returns:
      uint8 [height, width, 3], RGB.

    Raises:
      ImageError: the picture cannot be resized or converted (out of memory, for one).
    """
    try:
        if preparation.rgb_first and image.mode != "RGB":
            image = image.convert("RGB")
        placed = Placed.of(image.width, image.height, preparation)
        cropped = _cropped(image, placed, _FILTERS[preparation.interpolation])
        filled = _filled(cropped, placed, preparation.fill_color)
        return np.asarray(filled if filled.mode == "RGB" else filled.convert("RGB"))
    except Exception as error:
        raise ImageError(reason_of(error)) from error


@dataclass(frozen=True)
class Placed:
    """The place of a picture in a tower's input; in pixels.

    Attributes:
      width, height: of the picture when it is resized.
      left, top: where the input begins in the resized picture; below 0 where the picture begins in the input.
      crop_width, crop_height: of the input.
    """

    width: int
    height: int
    left: int
    top: int
    crop_width: int
    crop_height: int

    @classmethod
    def of(cls, width: int, height: int, preparation: Preparation) -> "Placed":
        """Computes as open_clip and timm do, in the same order of roundings."""
        crop_height, crop_width = preparation.shape
        to_width, to_height = _resized_size(width, height, preparation)
        left, top = _begin(to_width, crop_width), _begin(to_height, crop_height)
        return cls(to_width, to_height, left, top, crop_width, crop_height)

    @property
    def too_long(self) -> bool:
        """Whether the resized picture is not to be made whole."""
        return max(self.width / self.crop_width, self.height / self.crop_height) > LONGEST_RESIZED_SIDE


def _resized_size(width: int, height: int, preparation: Preparation) -> tuple[int, int]:
    to_height, to_width = preparation.resized_shape
    if preparation.resize_mode == "squash":
        return to_width, to_height
    if preparation.resize_mode == "shortest" and to_height == to_width:
        side = to_width
        return (side, int(side * height / width)) if width <= height else (int(side * width / height), side)
    choose = max if preparation.resize_mode == "longest" else min
    ratio = choose(height / to_height, width / to_width)
    return max(1, round(width / ratio)), max(1, round(height / ratio))


def _begin(side: int, crop: int) -> int:
    return round((side - crop) / 2) if side >= crop else -((crop - side) // 2)


def _cropped(image: Image.Image, placed: Placed, resampling: Image.Resampling) -> Image.Image:
    """The part of the resized picture that lies in the input."""
    left, top = max(0, placed.left), max(0, placed.top)
    crop_width, crop_height = min(placed.width, placed.crop_width), min(placed.height, placed.crop_height)
    if placed.too_long:
        columns = _Side.of(image.width, placed.width, left, crop_width)
        rows = _Side.of(image.height, placed.height, top, crop_height)
        # Cropped first, as Pillow may else resize a tall picture's columns before its rows.
        image = image.crop((columns.start, rows.start, columns.end, rows.end))
        box = (columns.box_start, rows.box_start, columns.box_end, rows.box_end)
        image = image.resize((columns.resized, rows.resized), resampling, box)
        return image.crop((columns.crop, rows.crop, columns.crop + crop_width, rows.crop + crop_height))
    resized_width = placed.width
    if left and image.mode not in _RESIZED_AT_ONCE and resampling is not Image.Resampling.NEAREST:
        # Pillow resizes rows, then columns: of those that the crop leaves out, it need not.
        image = image.resize((resized_width, image.height), resampling)
        image, resized_width, left = image.crop((left, 0, left + crop_width, image.height)), crop_width, 0
    if image.size != (resized_width, placed.height):
        image = image.resize((resized_width, placed.height), resampling)
    if image.size == (crop_width, crop_height):
        return image
    return image.crop((left, top, left + crop_width, top + crop_height))


def _filled(image: Image.Image, placed: Placed, color: int | tuple[int, ...]) -> Image.Image:
    """The picture amid as much of a colour as it lacks of the input; the colour is one of its own mode."""
    if image.size == (placed.crop_width, placed.crop_height):
        return image
    left, top = max(0, -placed.left), max(0, -placed.top)
    right, bottom = placed.crop_width - image.width - left, placed.crop_height - image.height - top
    channels = len(image.getbands())
    if isinstance(color, int) and channels > 1:
        color = (color,) * channels
    palette = image.getpalette() if image.mode == "P" else None
    image = ImageOps.expand(image, (left, top, right, bottom), color)
    if palette is not None:
        image.putpalette(palette)
    return image


@dataclass(frozen=True)
class _Side:
    """One side of a picture, as far as it is needed for the crop of the resized picture and for what the filter reaches
    around it.

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
        """Finds the part of a side that `size` pixels of the resized one need, from `crop` on."""
        scale = side / resized_side
        margin = math.ceil(_REACH * max(1.0, 1 / scale))
        first, last = max(0, crop - margin), min(resized_side, crop + size + margin)
        start, end = math.floor(first * scale), min(side, math.ceil(last * scale))
        return cls(start, end, first * scale - start, min(end, last * scale) - start, last - first, crop - first)
