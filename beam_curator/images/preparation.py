"""`Preparation`: how an image becomes the input of an encoder, as numbers that `preprocess` follows."""

import math
from dataclasses import dataclass
from typing import Any

from beam_curator.errors import UsageError

RESIZE_MODES = ("shortest", "longest", "squash")
INTERPOLATIONS = ("bicubic", "bilinear", "lanczos", "hamming", "box", "nearest")

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Mean and standard deviation of OpenAI's CLIP, per RGB channel, for levels divided by 255."""


@dataclass(frozen=True)
class Preparation:
    """The way in which an image becomes an encoder's input. The defaults are those of OpenAI's CLIP.

    Attributes:
      size: size of the input in pixels: the side of a square, or (height, width).
      resize_mode: "shortest": the image keeps its proportions and covers the input, and what stands over is cropped;
        "longest": it keeps its proportions and lies within the input, and the rest is filled with `fill_color`;
        "squash": each side is resized by itself.
      interpolation: Pillow's filter: "bicubic", "bilinear", "lanczos", "hamming", "box" or "nearest".
      mean, std: mean and standard deviation per RGB channel, for levels divided by 255.
      fill_color: with "longest", a level of 0 to 255 for all channels of the image (before it is converted to RGB), or
        with `rgb_first` a colour of three levels.
      resized: size to which the image is resized before its centre is cropped to `size`, in the same form; None for
        `size` itself.
      rgb_first: whether the image is converted to RGB before it is resized, as timm does. open_clip converts it
        afterwards, so that images with a palette are resized by the nearest pixel.
    """

    size: int | tuple[int, int] = 224
    resize_mode: str = "shortest"
    interpolation: str = "bicubic"
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD
    fill_color: int | tuple[int, ...] = 0
    resized: int | tuple[int, int] | None = None
    rgb_first: bool = False

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("resize_mode", self.resize_mode, RESIZE_MODES),
            ("interpolation", self.interpolation, INTERPOLATIONS),
        ):
            if value not in choices:
                raise UsageError(f"Preparation: {name} is {value!r}: choose one of {', '.join(choices)}")
        for name, size in (("size", self.size), ("resized", self.resized)):
            if size is not None and not _is_size(size):
                raise UsageError(f"Preparation: {name} is {size!r}: give a side in pixels, or (height, width)")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if not (_is_row(values, 3) and all(map(_is_number, values))):
                raise UsageError(f"Preparation: {name} is {values!r}: give a number for each of red, green and blue")
        if not all(value > 0 for value in self.std):
            raise UsageError(f"Preparation: std is {self.std!r}: levels are divided by it, so it is above 0")
        if not (isinstance(self.fill_color, int) or (_is_row(self.fill_color, 3) and self.rgb_first)):
            raise UsageError(
                f"Preparation: fill_color is {self.fill_color!r}: give one level, or with rgb_first a colour of three"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the input, in pixels."""
        return _pair(self.size)

    @property
    def resized_shape(self) -> tuple[int, int]:
        """(height, width) that the picture is resized to, as `resize_mode` says."""
        return self.shape if self.resized is None else _pair(self.resized)


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _is_side(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _is_size(value: Any) -> bool:
    return _is_side(value) or (_is_row(value, 2) and all(map(_is_side, value)))


def _is_row(value: Any, length: int) -> bool:
    return isinstance(value, tuple) and len(value) == length
