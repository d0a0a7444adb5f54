"""Brightness, contrast, blur, entropy and greyscale of a picture, from its pixels alone.

Definitions, ranges and thresholds are those of cleanvision 0.3.7 (https://github.com/cleanlab/cleanvision), equal to
its own numbers on the same RGB picture; contrast, which cleanvision does not measure, is RMS contrast.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from beam_curator.identities import ModelIdentity
from beam_curator.models.scorers.scorer import Column, Scorer

Pixels: TypeAlias = NDArray[np.uint8]
"""uint8 [height, width, 3], RGB."""

_LEVELS = np.arange(256)

_PER_MILLE = np.array([241, 691, 68])
"""The weights of red, green and blue in perceived brightness, in thousandths: those of the HSP colour model."""

_WEIGHTED_SQUARES = np.outer(_PER_MILLE, _LEVELS**2).astype(np.uint32)
"""The weighted squares of each channel's levels; their sum is 1000 times the square of a pixel's brightness in
levels."""

_BLUR_SIDE = 64
"""Edges are looked for in the picture at this length of its longer side, in pixels."""


def brightness(pixels: Pixels) -> float:
    """Computes the mean perceived brightness: sqrt(0.241 R^2 + 0.691 G^2 + 0.068 B^2) / 255 of the mean colour.

    From 0, black, to 1, white.
    """
    mean = _counts(Image.fromarray(pixels)) @ _LEVELS / (pixels.size // 3)
    return float(np.sqrt(_PER_MILLE @ mean**2 / 1000) / 255)


def brightness_percentiles(pixels: Pixels, percentiles: Sequence[float]) -> list[float]:
    """Percentiles of the perceived brightness of single pixels, interpolated linearly between the two nearest.

    From 0 to 1 each. cleanvision calls a picture dark whose 99th percentile is below 0.32, and light where its 5th is
    above 0.95.
    """
    weighted = _WEIGHTED_SQUARES[0].take(pixels[..., 0])
    weighted += _WEIGHTED_SQUARES[1].take(pixels[..., 1])
    weighted += _WEIGHTED_SQUARES[2].take(pixels[..., 2])
    weighted = weighted.ravel()

    def smallest(place: int) -> float:
        weighted.partition(place)  # one place at a time: several take numpy three times as long
        return float(np.sqrt(weighted[place] / 1000) / 255)

    found = []
    for percentile in percentiles:
        rank = percentile / 100 * (weighted.size - 1)
        low, high = smallest(math.floor(rank)), smallest(math.ceil(rank))
        found.append(low + (rank - math.floor(rank)) * (high - low))
    return found


def contrast(pixels: Pixels) -> float:
    """RMS contrast: the standard deviation of the grey levels (ITU-R 601-2), divided by 255.

    From 0, one level, to 0.5, half of the picture black and half white.
    """
    shares = _counts(Image.fromarray(pixels).convert("L"))[0] / (pixels.size // 3)
    return float(np.sqrt(shares @ (_LEVELS - shares @ _LEVELS) ** 2) / 255)


def blur(pixels: Pixels) -> float:
    """Measures how strong edges are: 1 - exp(-deviation / 100), where deviation is the standard deviation of the edges.

    The edges are those of the grey picture at 64 pixels of its longer side (a smaller picture stays as it is): eight
    times a pixel less its eight neighbours, cut to 0..255. The outermost pixels have no such neighbours and hold their
    grey level, as in cleanvision: a picture without an edge has 0 where it is black, and 0.46 where it is white.

    From 0 to 0.72. cleanvision calls a picture blurry below 0.29, unless most of it has few grey levels.
    """
    image = Image.fromarray(pixels)
    ratio = max(image.size) / _BLUR_SIDE
    if ratio > 1:
        image = image.resize((max(1, int(image.width // ratio)), max(1, int(image.height // ratio))))
    edges = np.asarray(image.convert("L").filter(ImageFilter.FIND_EDGES))
    return float(-np.expm1(-edges.std(dtype=np.float64) / 100))


def entropy(pixels: Pixels) -> float:
    """Shannon entropy of the histogram of the levels of all three channels, in bits.

    From log2(3) = 1.58, one colour, to log2(768) = 9.58. cleanvision finds little information below 3.
    """
    counts = _counts(Image.fromarray(pixels))
    shares = counts[counts > 0] / pixels.size
    return float(-(shares @ np.log2(shares)))


def is_greyscale(pixels: Pixels) -> bool:
    """Tells whether red, green and blue are equal in every pixel, however the file holds them."""
    red, green, blue = (pixels[..., channel] for channel in range(3))
    return bool(np.array_equal(red, green) and np.array_equal(green, blue))


def _counts(image: Image.Image) -> NDArray[np.int64]:
    """Counts the pixels of each level: int64 [channels, 256]."""
    return np.array(image.histogram()).reshape(-1, 256)


class ImageMeasures(Scorer):
    """Gives the columns `brightness`, `brightness_p5`, `brightness_p99`, `contrast`, `blur`, `entropy`, `greyscale`.

    They are of the whole upright picture at its full size, computed on the CPU.
    """

    name = "image_measures"
    needs = "pixels"
    batch_size = 4
    parallel = True

    @property
    def columns(self) -> tuple[Column, ...]:
        """Dark, flat, blurred and grey pictures are the worse ones, and so are those without a dark spot."""
        return (
            Column("brightness"),
            Column("brightness_p5", worse="higher"),
            Column("brightness_p99"),
            Column("contrast"),
            Column("blur"),
            Column("entropy"),
            Column("greyscale", "flag", worse="higher"),
        )

    @property
    def identity(self) -> ModelIdentity:
        """The identity of the measures, by their version and their definition."""
        return ModelIdentity("image measures 1, as cleanvision 0.3 defines them")

    def __call__(self, batch: Sequence[Pixels]) -> dict[str, list[float] | list[bool]]:
        """Measures pictures: column to n values."""
        percentiles = [brightness_percentiles(pixels, (5, 99)) for pixels in batch]
        return {
            "brightness": [brightness(pixels) for pixels in batch],
            "brightness_p5": [p5 for p5, _ in percentiles],
            "brightness_p99": [p99 for _, p99 in percentiles],
            "contrast": [contrast(pixels) for pixels in batch],
            "blur": [blur(pixels) for pixels in batch],
            "entropy": [entropy(pixels) for pixels in batch],
            "greyscale": [is_greyscale(pixels) for pixels in batch],
        }
